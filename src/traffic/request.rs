//! A step's request, compiled: what can be prepared once is, and the rest is a template per part.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::path::Path;
use std::time::Duration;
use std::{fmt::Write, fs};

use super::TrafficError;
use super::origin::Origin;
use super::text::{Escape, Names, Scope, Text};
use crate::scenario::{Body, Flow, Step};

/// A request body.
#[derive(Debug, Clone)]
pub enum BodyTemplate {
    /// Always the same bytes.
    Fixed(Bytes),
    /// Rendered for each request.
    Text(Text),
}

/// A compiled request.
#[derive(Debug, Clone)]
pub struct RequestTemplate {
    /// Method.
    pub method: Method,
    /// Path and query.
    target: Text,
    /// So many bytes of it are the path of the target's base URL.
    prefix: usize,
    headers: Vec<(HeaderName, Text)>,
    body: BodyTemplate,
    /// Whole parts that never change.
    fixed: Fixed,
    /// From the start of the attempt to the last byte.
    pub timeout: Duration,
}

#[derive(Debug, Clone, Default)]
struct Fixed {
    url: Option<reqwest::Url>,
    headers: Option<HeaderMap>,
    wire: Option<Bytes>,
}

/// Room to write requests in, kept from one to the next.
#[derive(Debug, Default)]
pub struct Wire {
    head: String,
    text: String,
    bytes: Vec<u8>,
}

impl Wire {
    /// The request rendered last.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A request with its values, for transports that take parts.
#[derive(Debug)]
pub struct Rendered {
    /// URL.
    pub url: reqwest::Url,
    /// Headers, without `host` and `content-length`.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl RequestTemplate {
    /// Compiles a step's request.
    pub fn compile(
        flow: &Flow,
        step: &Step,
        names: &Names,
        origin: &Origin,
        base_dir: &Path,
        close: bool,
    ) -> Result<Self, TrafficError> {
        let method = Method::from_bytes(step.method.as_bytes())
            .map_err(|_| TrafficError::Scenario(format!("`{}` is no HTTP method", step.method)))?;
        let (target, prefix) = compile_target(step, names, origin)?;
        let (body, content_type) = compile_body(&step.body, names, base_dir)?;
        let mut headers = Vec::new();
        let given = |name: &str| {
            step.headers
                .iter()
                .chain(&flow.headers)
                .any(|(given, _)| given.eq_ignore_ascii_case(name))
        };
        // A step's header replaces the flow's of the same name.
        let of_flow = flow.headers.iter().filter(|(name, _)| {
            !step
                .headers
                .iter()
                .any(|(other, _)| other.eq_ignore_ascii_case(name))
        });
        for (name, value) in of_flow.chain(&step.headers) {
            headers.push(compile_header(name, value, names)?);
        }
        let mut defaults = vec![
            ("accept", "*/*"),
            ("user-agent", concat!("squall/", env!("CARGO_PKG_VERSION"))),
        ];
        defaults.extend(content_type.map(|value| ("content-type", value)));
        defaults.extend(close.then_some(("connection", "close")));
        for (name, value) in defaults {
            if !given(name) {
                headers.push(compile_header(name, value, &Names::default())?);
            }
        }
        let timeout = step.timeout.unwrap_or(flow.timeout);
        let mut template = Self {
            method,
            target,
            prefix,
            headers,
            body,
            fixed: Fixed::default(),
            timeout,
        };
        template.prepare(origin)?;
        Ok(template)
    }

    /// Builds what never changes.
    fn prepare(&mut self, origin: &Origin) -> Result<(), TrafficError> {
        if let Some(target) = self.target.constant() {
            let url = format!("{}{target}", origin.base);
            let url = url
                .parse()
                .map_err(|e| TrafficError::Scenario(format!("`{url}` is no URL: {e}")))?;
            self.fixed.url = Some(url);
        }
        let constant = |(name, text): &(HeaderName, Text)| {
            Some((name.clone(), HeaderValue::from_str(text.constant()?).ok()?))
        };
        let all: Option<Vec<_>> = self.headers.iter().map(constant).collect();
        self.fixed.headers = all.map(|headers| {
            let mut map = HeaderMap::with_capacity(headers.len());
            for (name, value) in headers {
                map.append(name, value);
            }
            map
        });
        let fixed_body = matches!(self.body, BodyTemplate::Fixed(_));
        if self.fixed.url.is_some() && self.fixed.headers.is_some() && fixed_body {
            let mut wire = Wire::default();
            // Nothing is a variable here, so the scope is never looked at.
            let mut rng = rand_pcg::Pcg64::new(0, 0);
            let mut scope = Scope {
                values: &[],
                user: 0,
                iteration: 0,
                rng: &mut rng,
            };
            self.render_http1(origin, &mut scope, &mut wire)
                .map_err(TrafficError::Scenario)?;
            self.fixed.wire = Some(wire.bytes.into());
        }
        Ok(())
    }

    /// The request in parts; the error is why its URL or a header cannot be.
    pub fn render(&self, origin: &Origin, scope: &mut Scope<'_>) -> Result<Rendered, String> {
        let url = match &self.fixed.url {
            Some(url) => url.clone(),
            None => {
                let mut url = origin.base.clone();
                self.render_target(scope, &mut url)?;
                reqwest::Url::parse(&url).map_err(|e| format!("`{url}` is no URL: {e}"))?
            }
        };
        let headers = match &self.fixed.headers {
            Some(headers) => headers.clone(),
            None => {
                let mut map = HeaderMap::with_capacity(self.headers.len());
                for (name, text) in &self.headers {
                    let mut value = String::new();
                    text.render(scope, &mut value);
                    let value = HeaderValue::from_maybe_shared(Bytes::from(value))
                        .map_err(|_| format!("the value of header {name} cannot be sent"))?;
                    map.append(name.clone(), value);
                }
                map
            }
        };
        let body = match &self.body {
            BodyTemplate::Fixed(bytes) => bytes.clone(),
            BodyTemplate::Text(text) => {
                let mut body = String::new();
                text.render(scope, &mut body);
                body.into()
            }
        };
        Ok(Rendered { url, headers, body })
    }

    /// Appends path and query; the error is that the values in the step's path make none of it. Without its `/` a path
    /// would run into what stands before it: the last word of the base URL's path, or the host.
    fn render_target(&self, scope: &mut Scope<'_>, out: &mut String) -> Result<(), String> {
        let from = out.len() + self.prefix;
        self.target.render(scope, out);
        match &out[from..] {
            path if path.starts_with('/') => Ok(()),
            path => Err(no_path(path)),
        }
    }

    /// The whole request as HTTP/1.1 puts it on the wire, where it is always the same.
    pub fn constant(&self) -> Option<&[u8]> {
        self.fixed.wire.as_deref()
    }

    /// Renders the whole request as HTTP/1.1 puts it on the wire. The error is why it cannot be sent.
    pub fn render_http1(
        &self,
        origin: &Origin,
        scope: &mut Scope<'_>,
        wire: &mut Wire,
    ) -> Result<(), String> {
        let Wire { head, text, bytes } = wire;
        head.clear();
        text.clear();
        bytes.clear();
        head.push_str(self.method.as_str());
        head.push(' ');
        self.render_target(scope, head)?;
        head.push_str(" HTTP/1.1\r\n");
        if !self
            .headers
            .iter()
            .any(|(name, _)| name == http::header::HOST)
        {
            // Writing to a String cannot fail, here and below.
            let _ = write!(head, "host: {}\r\n", origin.authority);
        }
        for (name, value) in &self.headers {
            head.push_str(name.as_str());
            head.push_str(": ");
            value.render(scope, head);
            head.push_str("\r\n");
        }
        let body = match &self.body {
            BodyTemplate::Fixed(bytes) => bytes.as_ref(),
            BodyTemplate::Text(template) => {
                template.render(scope, text);
                text.as_bytes()
            }
        };
        if self.says_length(body.len()) {
            let _ = write!(head, "content-length: {}\r\n", body.len());
        }
        head.push_str("\r\n");
        bytes.extend_from_slice(head.as_bytes());
        bytes.extend_from_slice(body);
        Ok(())
    }

    /// Whether a request with a body of this size has a `content-length`: a POST says that it is empty, a GET does
    /// not (RFC 9110, 8.6).
    fn says_length(&self, body: usize) -> bool {
        body > 0 || matches!(self.method, Method::POST | Method::PUT | Method::PATCH)
    }

    /// How many bytes the request is as HTTP/1.1 writes it.
    pub fn size(&self, origin: &Origin, rendered: &Rendered) -> u64 {
        if let Some(wire) = &self.fixed.wire {
            return wire.len() as u64;
        }
        let url = &rendered.url;
        let target = url.path().len() + url.query().map_or(0, |query| query.len() + 1);
        let line = self.method.as_str().len() + target + " HTTP/1.1\r\n".len() + 1;
        let headers: usize = rendered
            .headers
            .iter()
            .map(|(n, v)| n.as_str().len() + v.len() + 4)
            .sum();
        let host = match rendered.headers.contains_key(http::header::HOST) {
            true => 0,
            false => origin.authority.len() + "host: \r\n".len(),
        };
        let body = rendered.body.len();
        let length = match self.says_length(body) {
            true => "content-length: \r\n".len() + decimal_digits(body),
            false => 0,
        };
        (line + headers + host + length + 2 + body) as u64
    }

    /// Method and URL, for a sample.
    pub fn describe(&self, origin: &Origin, scope: &mut Scope<'_>) -> String {
        let mut text = format!("{} {}", self.method, origin.base);
        self.target.render(scope, &mut text);
        text
    }
}

fn decimal_digits(number: usize) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// The target, and how many bytes of it are the base URL's path. A step's path that is none whatever its variables are is
/// an error.
fn compile_target(
    step: &Step,
    names: &Names,
    origin: &Origin,
) -> Result<(Text, usize), TrafficError> {
    let mut prefix = String::new();
    Escape::Target.push(&origin.prefix, &mut prefix);
    let path = step.path.split('#').next().unwrap_or_default();
    let begin = Text::compile(path, Escape::Target, names)?;
    if begin
        .known_start()
        .is_some_and(|known| !known.starts_with('/'))
    {
        return Err(TrafficError::Scenario(no_path(path)));
    }
    let mut target = Text::default();
    target.push_text(&prefix, Escape::None);
    target.push(path, Escape::Target, names)?;
    let mut separator = if path.contains('?') { "&" } else { "?" };
    for (name, value) in &step.query {
        target.push_text(separator, Escape::None);
        target.push(name, Escape::Query, names)?;
        target.push_text("=", Escape::None);
        target.push(value, Escape::Query, names)?;
        separator = "&";
    }
    Ok((target, prefix.len()))
}

fn no_path(path: &str) -> String {
    format!("`{path}` is no path: it does not begin with `/`")
}

fn compile_header(
    name: &str,
    value: &str,
    names: &Names,
) -> Result<(HeaderName, Text), TrafficError> {
    let known = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| TrafficError::Scenario(format!("`{name}` is no header name")))?;
    Ok((known, Text::compile(value, Escape::Header, names)?))
}

fn compile_body(
    body: &Body,
    names: &Names,
    base_dir: &Path,
) -> Result<(BodyTemplate, Option<&'static str>), TrafficError> {
    let mut text = Text::default();
    let content_type = match body {
        Body::None => None,
        Body::File(path) => {
            let path = base_dir.join(path);
            let bytes = fs::read(&path).map_err(|source| TrafficError::File { path, source })?;
            let kind = Some("application/octet-stream");
            return Ok((BodyTemplate::Fixed(bytes.into()), kind));
        }
        Body::Text(source) => {
            text.push(source, Escape::None, names)?;
            Some("text/plain; charset=utf-8")
        }
        Body::Json(value) => {
            text.push_json(value, names)?;
            Some("application/json")
        }
        Body::Form(fields) => {
            for (i, (name, value)) in fields.iter().enumerate() {
                text.push_text(if i > 0 { "&" } else { "" }, Escape::None);
                text.push(name, Escape::Form, names)?;
                text.push_text("=", Escape::None);
                text.push(value, Escape::Form, names)?;
            }
            Some("application/x-www-form-urlencoded")
        }
    };
    let fixed = text
        .constant()
        .map(|body| Bytes::copy_from_slice(body.as_bytes()));
    Ok((
        fixed.map_or(BodyTemplate::Text(text), BodyTemplate::Fixed),
        content_type,
    ))
}

#[cfg(test)]
mod tests;

//! What kind of failure an error is, from its chain of causes.
//!
//! Libraries wrap the operating system's answer several times; the innermost cause that is known decides.

use std::error::Error;
use std::io;

use crate::record::Outcome;

/// A name that does not resolve; what this crate's own resolver answers, so that it is told apart for certain.
#[derive(Debug, thiserror::Error)]
#[error("the name `{name}` does not resolve: {source}")]
pub struct NameError {
    /// The name.
    pub name: String,
    /// What the system's resolver says.
    pub source: io::Error,
}

/// The kind of an error.
pub fn classify(error: &(dyn Error + 'static)) -> Outcome {
    let mut found = None;
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        if cause.is::<NameError>() {
            return name_outcome(cause);
        }
        // The deepest wins: "connection error" says less than the "connection reset" in it.
        found = of_one(cause).or(found);
        text = cause.to_string();
        next = match cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            // source() of an io::Error skips the error that it wraps.
            Some(inner) => Some(inner),
            None => cause.source(),
        };
    }
    found.unwrap_or_else(|| of_text(&text))
}

/// A name is looked up with sockets and files, too: a lack of those is the generator's own.
fn name_outcome(cause: &(dyn Error + 'static)) -> Outcome {
    let local = cause
        .downcast_ref::<NameError>()
        .and_then(|e| of_io(&e.source));
    local
        .filter(|outcome| *outcome == Outcome::Local)
        .unwrap_or(Outcome::Dns)
}

fn of_one(cause: &(dyn Error + 'static)) -> Option<Outcome> {
    if let Some(error) = cause.downcast_ref::<io::Error>() {
        return of_io(error);
    }
    if cause.is::<rustls::Error>() {
        return Some(Outcome::Tls);
    }
    let error = cause.downcast_ref::<hyper::Error>()?;
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        Some(Outcome::Closed)
    } else if error.is_parse() {
        Some(Outcome::Protocol)
    } else if error.is_timeout() {
        Some(Outcome::Timeout)
    } else {
        None
    }
}

/// The kind of an error of the operating system, or of a library that speaks as if it were one.
pub fn of_io(error: &io::Error) -> Option<Outcome> {
    use rustix::io::Errno;
    let own = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::ADDRNOTAVAIL,
        Errno::NOBUFS,
        Errno::NOMEM,
    ];
    if own
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
    {
        return Some(Outcome::Local);
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Some(Outcome::Refused),
        // A broken pipe is a reset that was noticed on writing.
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => Some(Outcome::Reset),
        io::ErrorKind::UnexpectedEof => Some(Outcome::Closed),
        io::ErrorKind::TimedOut => Some(Outcome::Timeout),
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown => Some(Outcome::Unreachable),
        io::ErrorKind::AddrNotAvailable => Some(Outcome::Local),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => Some(Outcome::Protocol),
        _ => None,
    }
}

/// HTTP/2 errors do not show their cause as an error, in words only.
fn of_text(text: &str) -> Outcome {
    let text = text.to_ascii_lowercase();
    let any = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if any(&["connection reset", "broken pipe", "stream error received"]) {
        Outcome::Reset
    } else if any(&[
        "eof",
        "closed",
        "not a result of an error",
        "operation was canceled",
        "end of file",
    ]) {
        Outcome::Closed
    } else {
        Outcome::Protocol
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);

    #[test]
    fn the_deepest_known_cause_decides() {
        let os = |errno: rustix::io::Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        use rustix::io::Errno;
        for (error, expected) in [
            (os(Errno::CONNREFUSED), Outcome::Refused),
            (os(Errno::CONNRESET), Outcome::Reset),
            (os(Errno::PIPE), Outcome::Reset),
            (os(Errno::TIMEDOUT), Outcome::Timeout),
            (os(Errno::HOSTUNREACH), Outcome::Unreachable),
            (os(Errno::NETUNREACH), Outcome::Unreachable),
            (os(Errno::MFILE), Outcome::Local),
            (os(Errno::ADDRNOTAVAIL), Outcome::Local),
            (io::ErrorKind::UnexpectedEof.into(), Outcome::Closed),
            (
                io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError),
                Outcome::Tls,
            ),
            (
                io::Error::other(Outer(os(Errno::CONNRESET))),
                Outcome::Reset,
            ),
            (
                io::Error::other("stream error received: refused stream"),
                Outcome::Reset,
            ),
            (io::Error::other("what?"), Outcome::Protocol),
        ] {
            let words = format!("{error:?}");
            assert_eq!(classify(&Outer(error)), expected, "{words}");
        }
    }

    #[test]
    fn a_name_that_fails_is_dns_unless_the_generator_is_at_its_limit() {
        let error = |source| NameError {
            name: "x".into(),
            source,
        };
        assert_eq!(
            classify(&error(io::Error::other("no such name"))),
            Outcome::Dns
        );
        let limit = io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
        assert_eq!(classify(&error(limit)), Outcome::Local);
    }
}

//! The system under test.

use std::path::PathBuf;

use super::{Lower, duration, one_or_more, parsed, text};
use crate::scenario::model::{
    GuardianSettings, KubernetesTarget, LocalTarget, Probe, Pull, Reach, Restart, Target,
    TargetCommon, Tls, UrlTarget,
};
use crate::scenario::problem::Problem;
use crate::scenario::tree::Node;

impl Lower<'_> {
    pub(super) fn target(&mut self, node: &Node) -> Option<Target> {
        if let Some(local) = node.get("local") {
            return self.local(local).map(Target::Local);
        }
        if let Some(kubernetes) = node.get("kubernetes") {
            return self.kubernetes(kubernetes).map(Target::Kubernetes);
        }
        let url = node.get("url")?;
        let (base, common) = match url.map() {
            Some(_) => (url.get("url")?, self.common(url)),
            None => (url, Some(TargetCommon::default())),
        };
        Some(Target::Url(UrlTarget {
            url: self.base_url(base)?,
            common: common?,
        }))
    }

    /// A URL that paths are put behind.
    pub(super) fn base_url(&mut self, node: &Node) -> Option<String> {
        let text = node.text().filter(|text| text.starts_with("http"))?;
        if text.contains(['?', '#']) {
            let problem = Problem::new(node.at, "a base URL has no query and no fragment");
            self.report(
                problem
                    .expected("scheme, host and an optional path, such as https://example.org/api"),
            );
        }
        Some(text.trim_end_matches('/').to_string())
    }

    fn kubernetes(&mut self, node: &Node) -> Option<KubernetesTarget> {
        let reach = match text(node, "reach")?.as_str() {
            "cluster-ip" => Reach::ClusterIp,
            "node-port" => Reach::NodePort,
            "load-balancer" => Reach::LoadBalancer,
            "ingress" => Reach::Ingress,
            "port-forward" => Reach::PortForward,
            _ => Reach::Auto,
        };
        let kubeconfig = match node.get("kubeconfig") {
            Some(file) if self.in_pod => file.text().map(PathBuf::from),
            Some(file) => Some(self.file(file)?),
            None => None,
        };
        Some(KubernetesTarget {
            kubeconfig,
            context: text(node, "context"),
            namespace: text(node, "namespace"),
            service: text(node, "service")?,
            port: text(node, "port"),
            scheme: text(node, "scheme")?,
            reach,
            guardian: guardian(node.get("guardian")?)?,
            common: self.common(node)?,
        })
    }

    fn common(&mut self, node: &Node) -> Option<TargetCommon> {
        let header = text(node, "instance-header")?.to_ascii_lowercase();
        Some(TargetCommon {
            instance_header: header,
            tls: self.tls(node)?,
        })
    }

    pub(super) fn tls(&mut self, node: &Node) -> Option<Tls> {
        let tls = node.get("tls")?;
        let mut file = |key: &str| -> Option<PathBuf> { self.file(tls.get(key)?) };
        Some(Tls {
            ca: file("ca"),
            cert: file("cert"),
            key: file("key"),
            insecure: parsed(tls, "insecure")?,
        })
    }

    fn local(&mut self, node: &Node) -> Option<LocalTarget> {
        let env = super::entries(node, "env");
        let env = env
            .iter()
            .filter_map(|e| Some((e.key.clone(), e.value.text()?.to_string())));
        let env = env.collect();
        let command = node
            .get("command")
            .and_then(|command| self.command(command, &env));
        let common = self.common(node);
        let restart = node
            .get("restart")
            .and_then(|restart| self.restart(restart));
        // What the shape has refused would only lead to further complaints.
        let instances = parsed(node, "instances").filter(|count| *count > 0)?;
        self.check_ports(node, instances);
        Some(LocalTarget {
            name: text(node, "name")?,
            command: command?,
            instances,
            env,
            port: parsed(node, "port"),
            first_port: parsed(node, "first-port"),
            scheme: text(node, "scheme")?,
            ready: probe(node.get("ready")?)?,
            start_timeout: duration(node, "start-timeout")?,
            stop_grace: duration(node, "stop-grace")?,
            restart: restart?,
            common: common?,
        })
    }

    /// The instances' ports must exist, and none may be the balancer's.
    fn check_ports(&mut self, node: &Node, instances: u32) {
        let (Some(first), Some(entry)) =
            (parsed::<u32>(node, "first-port"), node.get("first-port"))
        else {
            return;
        };
        let last = first.saturating_add(instances - 1);
        if last > 65_535 {
            let problem = Problem::new(entry.at, "there are not so many ports from here on");
            self.report(problem.expected(format!("at most {}", 65_536 - instances.min(65_535))));
        } else if parsed::<u32>(node, "port").is_some_and(|port| (first..=last).contains(&port)) {
            let problem = Problem::new(entry.at, "one of the instances' ports is the balancer's");
            self.report(
                problem.expected(format!("ports other than `port` for {instances} instances")),
            );
        }
    }

    fn command(
        &mut self,
        node: &Node,
        env: &std::collections::BTreeMap<String, String>,
    ) -> Option<Vec<String>> {
        let words = match node.text() {
            Some(line) => match split(line) {
                Ok(words) => words,
                Err(quote) => {
                    let problem = Problem::new(
                        node.at,
                        format!("a quote {quote} in the command is never closed"),
                    );
                    self.report(
                        problem.expected("a command as in a shell, or a list of its words"),
                    );
                    return None;
                }
            },
            None => one_or_more(node)
                .iter()
                .filter_map(|n| Some(n.text()?.to_string()))
                .collect(),
        };
        if words
            .first()
            .is_none_or(|program| program.trim().is_empty())
        {
            let problem = Problem::new(node.at, "the command names no program");
            self.report(
                problem.expected("a program and its arguments, such as squall demo --port {port}"),
            );
            return None;
        }
        let told = words
            .iter()
            .chain(env.values())
            .any(|word| word.contains("{port}"));
        if !told {
            let problem = Problem::new(node.at, "the command does not tell an instance its port");
            self.report(problem.expected("`{port}` in an argument, such as --port {port}"));
        }
        Some(words)
    }

    fn restart(&mut self, node: &Node) -> Option<Restart> {
        if let Some(word) = node.text() {
            return Some(Restart {
                enabled: word == "always",
                ..Restart::default()
            });
        }
        let (backoff, max_backoff) = (duration(node, "backoff")?, duration(node, "max-backoff")?);
        if backoff > max_backoff {
            let at = node.get("backoff").map(|n| n.at).unwrap_or(node.at);
            let problem = Problem::new(at, "`backoff` is longer than `max-backoff`");
            self.report(problem.expected(format!("at most {}", super::show(max_backoff))));
        }
        Some(Restart {
            enabled: true,
            backoff,
            max_backoff,
        })
    }
}

fn guardian(node: &Node) -> Option<GuardianSettings> {
    Some(GuardianSettings {
        image: text(node, "image"),
        service_account: text(node, "service-account")?,
        pull: match text(node, "pull")?.as_str() {
            "always" => Pull::Always,
            "never" => Pull::Never,
            _ => Pull::IfNotPresent,
        },
    })
}

fn probe(node: &Node) -> Option<Probe> {
    if node.text().is_some() {
        return Some(Probe::default());
    }
    Some(Probe {
        http: text(node, "http"),
        every: duration(node, "every")?,
        timeout: duration(node, "timeout")?,
        failures: parsed(node, "failures")?,
        successes: parsed(node, "successes")?,
    })
}

/// Splits a command line as a shell does: blanks part words, quotes and backslashes keep them together; nothing is
/// expanded. The error is the quote that stays open.
fn split(line: &str) -> Result<Vec<String>, char> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some('\''), _) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (_, '\\') => word.get_or_insert_default().extend(chars.next()),
            (None, _) if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    match quote {
        Some(open) => Err(open),
        None => Ok(words),
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn commands_are_split_as_in_a_shell() {
        for (line, words) in [
            (
                "squall demo --port {port}",
                vec!["squall", "demo", "--port", "{port}"],
            ),
            (
                "  a  'b c' \"d \\\" e\" f\\ g '' ",
                vec!["a", "b c", "d \" e", "f g", ""],
            ),
            ("sh -c 'x=$1; \\n'", vec!["sh", "-c", "x=$1; \\n"]),
            ("", vec![]),
        ] {
            assert_eq!(split(line).unwrap(), words, "{line}");
        }
        assert_eq!(split("a 'b"), Err('\''));
        assert_eq!(split("a \"b"), Err('"'));
    }
}

//! Where alerts are looked for, and what is expected of them.

use http::HeaderValue;

use super::{Lower, duration, entries, one_or_more, text};
use crate::scenario::model::{AlertApi, AlertExpectation, FaultSpec, Observe, Secret, Tls};
use crate::scenario::problem::Problem;
use crate::scenario::tree::Node;

impl Lower<'_> {
    pub(super) fn observe(&mut self, root: &Node) -> Option<Observe> {
        let Some(node) = root.get("observe") else {
            return Some(Observe::default());
        };
        let mut api = |key: &str| match node.get(key) {
            Some(api) => self.alert_api(api).map(Some),
            None => Some(None),
        };
        let (alertmanager, prometheus) = (api("alertmanager"), api("prometheus"));
        Some(Observe {
            alertmanager: alertmanager?,
            prometheus: prometheus?,
        })
    }

    fn alert_api(&mut self, node: &Node) -> Option<AlertApi> {
        let (base, authorization, tls) = match node.map() {
            Some(_) => {
                let authorization = match node.get("authorization") {
                    Some(given) => Some(self.authorization(given)?),
                    None => None,
                };
                (node.get("url")?, authorization, self.tls(node)?)
            }
            None => (node, None, Tls::default()),
        };
        let url = self.base_url(base)?;
        Some(AlertApi {
            url,
            authorization,
            tls,
        })
    }

    fn authorization(&mut self, node: &Node) -> Option<Secret> {
        let value = node.text()?;
        if HeaderValue::from_str(value).is_err() {
            let problem = Problem::new(
                node.at,
                "a header value has no line ends or control characters",
            );
            self.report(problem.expected("one line, such as \"Bearer ${ALERTS_TOKEN}\""));
        }
        Some(Secret::new(value))
    }

    pub(super) fn alert(
        &mut self,
        node: &Node,
        root: &Node,
        faults: Option<&[FaultSpec]>,
    ) -> Option<AlertExpectation> {
        if root.get("observe").is_none() {
            let problem = Problem::new(node.at, "nothing says where alerts are seen");
            self.report(
                problem.expected("`observe: { alertmanager: http://... }` in the scenario"),
            );
        }
        if faults.is_some_and(<[_]>::is_empty) {
            let problem = Problem::new(node.at, "alerts are raised by faults, and there are none");
            self.report(problem.expected("`faults` in the scenario"));
        } else if let (Some(faults), Some(named)) = (faults, node.get("fault")) {
            self.check_fault_name(named, faults);
        }
        for label in entries(node, "labels") {
            if label.key == "alertname" {
                let problem =
                    Problem::new(label.key_at, "the alert's name stands beside its labels");
                self.report(problem.expected("it in `name`"));
            }
        }
        let labels = entries(node, "labels").iter();
        let ignore = node.get("ignore").map(one_or_more).unwrap_or_default();
        Some(AlertExpectation {
            name: text(node, "name")?,
            labels: labels
                .filter_map(|e| Some((e.key.clone(), e.value.text()?.to_string())))
                .collect(),
            fires_within: duration(node, "fires-within")?,
            resolves_within: duration(node, "resolves-within"),
            fault: text(node, "fault"),
            ignore: ignore
                .iter()
                .filter_map(|name| Some(name.text()?.to_string()))
                .collect(),
        })
    }

    fn check_fault_name(&mut self, node: &Node, faults: &[FaultSpec]) {
        let names: Vec<&str> = faults.iter().map(|fault| fault.name.as_str()).collect();
        if let Some(name) = node.text().filter(|name| !names.contains(name)) {
            let problem = Problem::new(node.at, format!("there is no fault `{name}`"));
            let problem = problem.expected(format!("one of {}", names.join(", ")));
            self.report(problem.nearest(name, names));
        }
    }
}

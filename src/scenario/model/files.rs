//! The files that a scenario names.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Body, Node, Scenario};

impl Scenario {
    /// All files that a run reads beside the scenario itself, as they are written there, and whether each is a secret
    /// (a private key).
    pub fn files(&self) -> BTreeSet<(&Path, bool)> {
        let mut files = BTreeSet::new();
        for flow in &self.traffic {
            files.extend(flow.data.iter().map(|d| (d.file.as_path(), false)));
            bodies(&flow.journey, &mut files);
        }
        let tls = &self.target.common().tls;
        let shown = [&tls.ca, &tls.cert].into_iter().flatten();
        files.extend(shown.map(|f| (f.as_path(), false)));
        files.extend(tls.key.iter().map(|f| (f.as_path(), true)));
        files
    }
}

fn bodies<'a>(journey: &'a [Node], files: &mut BTreeSet<(&'a Path, bool)>) {
    for node in journey {
        match node {
            Node::Step(step) => {
                if let Body::File(file) = &step.body {
                    files.insert((file, false));
                }
            }
            Node::Choose(branches) => branches.iter().for_each(|b| bodies(&b.journey, files)),
            Node::Think(_) => {}
        }
    }
}

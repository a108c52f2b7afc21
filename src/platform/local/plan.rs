//! What a run would do on this machine, in sentences.

use std::path::Path;

use crate::scenario::LocalTarget;
use crate::scenario::units::format_duration as duration;

/// One sentence for each thing that `start` and `stop` do.
pub(super) fn sentences(t: &LocalTarget, dir: &Path) -> Vec<String> {
    let port = match t.port {
        Some(port) => format!("127.0.0.1:{port}"),
        None => "a free port of 127.0.0.1".to_string(),
    };
    let ports = match t.first_port {
        Some(first) => format!(
            " on the ports from {first} to {}",
            u32::from(first) + t.instances.saturating_sub(1)
        ),
        None => String::new(),
    };
    let probe = match &t.ready.http {
        Some(path) => format!("GET {path} answers 200 to 399"),
        None => "its port accepts a connection".to_string(),
    };
    let restart = match t.restart.enabled {
        true => format!(
            "Restart an instance that dies after {}, doubled for each further time up to {}.",
            duration(t.restart.backoff),
            duration(t.restart.max_backoff)
        ),
        false => "Leave an instance that dies dead.".to_string(),
    };
    vec![
        format!(
            "Start {} of `{}` in {}, as {}-1 to {}-{}{ports}.",
            match t.instances {
                1 => "1 instance".to_string(),
                n => format!("{n} instances"),
            },
            t.command.join(" "),
            dir.display(),
            t.name,
            t.name,
            t.instances
        ),
        format!(
            "An instance is ready when {probe} (every {}); all must be within {}.",
            duration(t.ready.every),
            duration(t.start_timeout)
        ),
        format!(
            "Balance connections to {port} at random over the ready instances ({}).",
            t.scheme
        ),
        restart,
        format!(
            "At the end send SIGTERM to all, and SIGKILL after {}.",
            duration(t.stop_grace)
        ),
    ]
}

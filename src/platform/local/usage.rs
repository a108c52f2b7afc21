//! Puts into the record what each instance uses.

use std::sync::Arc;
use std::time::Duration;

use super::state::State;
use crate::observe::usage::UsageSampler;
use crate::record::{InstanceState, Sink, What};

/// Records once a second what each running instance uses.
pub(super) async fn sample(state: Arc<State>, sink: Sink) {
    let mut sampler = UsageSampler::default();
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let slots = state.slots().into_iter();
        let running = slots.filter(|s| s.state != InstanceState::Ended);
        let named: Vec<(String, u32)> = running
            .filter_map(|s| Some((s.name, s.group?.id())))
            .collect();
        let groups: Vec<u32> = named.iter().map(|(_, group)| *group).collect();
        // Hundreds of small files: off this thread, which makes the faults.
        let sampled = tokio::task::spawn_blocking(move || {
            let usage = sampler.sample(&groups);
            (sampler, usage)
        });
        let Ok((back, usage)) = sampled.await else {
            return;
        };
        sampler = back;
        for (instance, group) in named {
            if let Some(usage) = usage.get(&group) {
                sink.emit(What::Usage {
                    instance,
                    cpu_millicores: usage.cpu_millicores,
                    memory_bytes: usage.memory_bytes,
                });
            }
        }
    }
}

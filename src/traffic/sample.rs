//! A failed request as it was, for the record: first of each kind, secrets masked.

use std::collections::BTreeMap;

use super::meter::End;
use super::reply::{Reply, SAMPLE_BYTES};
use super::shared::{InFlight, Shared, Slot};
use super::text::Scope;
use crate::record::{Sample, What};

/// Records a failed request as it was.
pub fn emit(
    shared: &Shared,
    slot: &Slot,
    request: &InFlight,
    end: &End,
    reply: &Reply,
    error: &str,
) {
    let flow = &slot.run.flow;
    let step = &flow.steps[request.step];
    let mask = &shared.plan.mask;
    let values = slot.values.borrow();
    let mut rng = request.rng.clone();
    let mut scope = Scope {
        values: &values,
        user: request.user,
        iteration: request.iteration,
        rng: &mut rng,
    };
    let line = step.request.describe(&shared.plan.origin, &mut scope);
    let cut = |text: &str| mask.apply_cut(text, SAMPLE_BYTES, false);
    let mut headers = BTreeMap::new();
    reply.each_header(|name, value| {
        headers.insert(name, cut(&String::from_utf8_lossy(value)));
    });
    let body_was_cut = (reply.body().len() as u64) < reply.body_bytes;
    let body = String::from_utf8_lossy(reply.body());
    let body = Some(mask.apply_cut(&body, SAMPLE_BYTES, body_was_cut)).filter(|b| !b.is_empty());
    let sample = Sample {
        flow: flow.name.clone(),
        step: step.name.clone(),
        outcome: end.outcome,
        instance: end
            .instance
            .map(|id| cut(shared.instances.borrow().name(id))),
        request: cut(&line),
        error: cut(error),
        status: (reply.status > 0).then_some(reply.status),
        headers,
        body,
    };
    shared.plan.sink.emit_at(end.at, What::Sample(sample));
}

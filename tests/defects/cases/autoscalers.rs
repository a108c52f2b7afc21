//! Autoscalers with one defect each and without: a controller that decides by the algorithm from pods, samples and its
//! memory, as watches tell of it.

use serde_json::Value;
use squall::record::Record;

use crate::case::{Case, Make, Right, Seen, number_after, says};
use crate::sim::{Dice, Truth};
use crate::testing::autoscaled::{Plan, run};
use crate::testing::{S, START};

/// What each pod requests is 1,000 thousandths of a core, of which this part is to be used.
const TARGET: i64 = 600;

pub fn cases() -> Vec<Case> {
    let cluster = "`tests/kubernetes/autoscale.rs`";
    let case = |name, right, record, real| Case {
        name,
        right,
        make: Make::Record(record),
        real,
    };
    vec![
        case(
            "an autoscaler that ignores its stabilization window",
            Right::Fails("autoscale", window_ignored),
            ignores_its_window,
            "",
        ),
        case(
            "somebody else sets the replicas",
            Right::Fails("autoscale", |s| {
                autoscale(s, &["I8: kubectl-patch set 2 replicas"])
            }),
            foreign_writer,
            cluster,
        ),
        case(
            "`maxReplicas` too low for the load",
            Right::Fails("autoscale", |s| {
                autoscale(
                    s,
                    &["maxReplicas 2 is too low for this load", "held there for"],
                )
            }),
            low_maximum,
            cluster,
        ),
        case(
            "a metric that does not follow the load",
            Right::Fails("autoscale", |s| {
                autoscale(
                    s,
                    &["the metric does not follow this load", "goal was missed"],
                )
            }),
            wrong_metric,
            cluster,
        ),
        case(
            "an autoscaler that flaps at constant load",
            Right::Fails("autoscale", |s| {
                autoscale(s, &["flapping: ", "at constant load"])
            }),
            flapping,
            "",
        ),
        case(
            "an autoscaler that never scales down",
            Right::Fails("autoscale", stays_up),
            never_down,
            "",
        ),
        case(
            "an autoscaler that asks for one pod more than its metric does",
            Right::Fails("autoscale", |s| autoscale(s, &["I2: "])),
            one_too_many,
            "",
        ),
        case(
            "an autoscaler whose target is not there",
            Right::Fails("autoscale", |s| {
                autoscale(
                    s,
                    &["cannot scale its target Deployment/shop (FailedGetScale)"],
                )
            }),
            no_target,
            "",
        ),
        case(
            "a utilization without requests that it is a part of",
            Right::Fails("autoscale", |s| {
                autoscale(s, &["container web of pod shop-1 requests no cpu"])
            }),
            no_request,
            cluster,
        ),
        case(
            "new pods that get no requests, since connections stay where they are",
            Right::Fails("autoscale", |s| {
                autoscale(s, &["the scale-up did not help: the new pods got 0%"])
            }),
            pinned,
            "",
        ),
        case(
            "an autoscaler that follows its load",
            Right::Healthy,
            |d| made(usual(d)),
            cluster,
        ),
        case(
            "an autoscaler that follows a load that grows step by step",
            Right::Healthy,
            ramp,
            "",
        ),
        case(
            "a scale-down as soon as its window allows",
            Right::Healthy,
            window_edge,
            "",
        ),
        case(
            "a metric at the very edge of its tolerance",
            Right::Healthy,
            tolerance_edge,
            "",
        ),
        case(
            "an autoscaler through a rollout of its pods",
            Right::Healthy,
            rollout,
            "",
        ),
        case(
            "an autoscaler whose controller restarts",
            Right::Healthy,
            new_leader,
            "",
        ),
    ]
}

fn autoscale(seen: &Seen<'_>, words: &[&str]) -> Result<(), String> {
    says(seen.failed("autoscale")?, words)
}

/// A service is not busier before its load is there.
fn since_start(second: u64) -> u64 {
    second.saturating_sub(START / S)
}

/// A load that grows fourfold and falls again, and pods that keep up with it.
fn usual(dice: &mut Dice) -> Plan {
    let (low, high) = (dice.whole(200, 500) as i64, dice.whole(2_150, 2_950) as i64);
    let (from, to) = (dice.whole(100, 140), dice.whole(380, 430));
    Plan {
        wanted: Box::new(move |t| {
            if (from..to).contains(&since_start(t)) {
                high
            } else {
                low
            }
        }),
        steps: vec![(0, 4), (from, 12), (to, 4)],
        phases: (dice.whole(0, 14), dice.whole(0, 14)),
        starts_in: dice.whole(2, 8),
        ..Plan::default()
    }
}

fn made(plan: Plan) -> (Record, Truth) {
    let truth = Truth {
        start_us: START,
        ..Truth::default()
    };
    (run(plan), truth)
}

fn window(seconds: u64) -> Value {
    let mut spec = Plan::default().spec;
    spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] = seconds.into();
    spec
}

/// A recommendation in the window is named where its status changed within it; one that stood for longer is what the
/// decision should have been.
fn window_ignored(seen: &Seen<'_>) -> Result<(), String> {
    let named = autoscale(seen, &["I3: went down from"]);
    named.or_else(|_| {
        autoscale(
            seen,
            &["I2: decided 1 at ", "before windows, rates and limits"],
        )
    })
}

fn ignores_its_window(dice: &mut Dice) -> (Record, Truth) {
    let mut plan = usual(dice);
    plan.spec = window(dice.whole(120, 240));
    plan.tamper = Box::new(|_, decision, memory| {
        memory.recommendations.clear();
        if let Some(raw) = decision.raw.filter(|raw| *raw < decision.current) {
            decision.desired = raw.max(1);
        }
    });
    made(plan)
}

fn foreign_writer(dice: &mut Dice) -> (Record, Truth) {
    let mut plan = usual(dice);
    plan.foreign = Some((dice.whole(200, 360), 2, Some("kubectl-patch")));
    made(plan)
}

fn low_maximum(dice: &mut Dice) -> (Record, Truth) {
    let mut plan = usual(dice);
    plan.spec["maxReplicas"] = 2.into();
    made(plan)
}

fn wrong_metric(dice: &mut Dice) -> (Record, Truth) {
    let mut plan = usual(dice);
    let always = dice.whole(550, 650) as i64;
    plan.wanted = Box::new(move |_| always);
    plan.failing = plan.steps[1].0 + dice.whole(5, 30)..plan.steps[2].0;
    made(plan)
}

fn flapping(dice: &mut Dice) -> (Record, Truth) {
    let mut plan = usual(dice);
    let half = dice.whole(30, 50);
    plan.wanted = Box::new(move |t| {
        if (t / half).is_multiple_of(2) {
            2_600
        } else {
            300
        }
    });
    plan.steps = vec![(0, 4)];
    plan.spec = window(0);
    made(plan)
}

fn never_down(dice: &mut Dice) -> (Record, Truth) {
    let mut plan = usual(dice);
    plan.tamper = Box::new(|_, decision, _| {
        if decision.desired < decision.current {
            decision.desired = decision.current;
            decision.conditions.retain(|c| c.kind != "AbleToScale");
        }
    });
    made(plan)
}

/// It stayed at the most that there were.
fn stays_up(seen: &Seen<'_>) -> Result<(), String> {
    let verdict = seen.failed("autoscale")?;
    let told = number_after(&verdict.because, "stayed at ")?;
    let replicas = seen.record().events.iter().filter_map(|e| match &e.what {
        squall::record::What::Object(o) if o.object == "Deployment" => o.facts["replicas"].as_u64(),
        _ => None,
    });
    match replicas.max() {
        Some(most) if told == most as f64 => Ok(()),
        most => Err(format!("stayed at {told}, {most:?} in truth")),
    }
}

fn one_too_many(dice: &mut Dice) -> (Record, Truth) {
    let mut plan = usual(dice);
    plan.tamper = Box::new(|_, decision, _| {
        if decision.desired > decision.current {
            decision.desired += 1;
        }
    });
    made(plan)
}

fn no_target(dice: &mut Dice) -> (Record, Truth) {
    let mut plan = usual(dice);
    plan.no_target = true;
    made(plan)
}

fn no_request(dice: &mut Dice) -> (Record, Truth) {
    let mut plan = usual(dice);
    plan.request = None;
    made(plan)
}

fn pinned(dice: &mut Dice) -> (Record, Truth) {
    let mut plan = usual(dice);
    plan.pinned = true;
    made(plan)
}

fn ramp(dice: &mut Dice) -> (Record, Truth) {
    let mut plan = usual(dice);
    let (from, each) = (plan.steps[1].0, dice.whole(50, 80));
    plan.wanted =
        Box::new(move |t| 400 + 600 * (since_start(t).saturating_sub(from) / each).min(4) as i64);
    plan.steps = (0..5)
        .map(|n| (if n == 0 { 0 } else { from + each * (n - 1) }, 4 + 2 * n))
        .collect();
    made(plan)
}

/// A window of whole periods: the last high recommendation is exactly as old as the window when it is left. One of fewer
/// than three does flap, since new pods are busy with their start.
fn window_edge(dice: &mut Dice) -> (Record, Truth) {
    let mut plan = usual(dice);
    plan.spec = window(15 * dice.whole(3, 8));
    made(plan)
}

/// One pod at 0.9 or 1.1 times its target, both of which are no reason to do anything, then a load that is one, and the
/// same again with all of them.
fn tolerance_edge(dice: &mut Dice) -> (Record, Truth) {
    let mut plan = usual(dice);
    let edge = [9, 11][dice.below(2)] * TARGET / 10;
    let (from, to, pods) = (plan.steps[1].0, plan.steps[2].0, dice.whole(3, 6) as i64);
    let later = dice.whole(60, 90);
    plan.wanted = Box::new(move |t| match since_start(t) {
        t if t < from => edge,
        t if t < from + later => pods * TARGET,
        t if t < to => pods * edge,
        _ => 200,
    });
    made(plan)
}

fn rollout(dice: &mut Dice) -> (Record, Truth) {
    let mut plan = usual(dice);
    plan.rollout = Some(dice.whole(220, 300));
    made(plan)
}

fn new_leader(dice: &mut Dice) -> (Record, Truth) {
    let mut plan = usual(dice);
    plan.leader_change = Some(dice.whole(180, 600));
    made(plan)
}

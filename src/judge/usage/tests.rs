use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::judge::Ruling;
use crate::judge::testing::{S, Sim, at};
use crate::record::{Level, ObjectChange, ObjectEvent, View, WatchEvent};
use crate::scenario::units::{Cores, Ratio, Size};
use crate::scenario::{
    Expectation, FaultKind, GuardianSettings, KubernetesTarget, Most, Reach, StressPlace, Target,
};

fn usual() -> UsageExpectation {
    UsageExpectation {
        cpu: Most::OfLimit(Ratio::fraction(0.9)),
        memory: Most::OfLimit(Ratio::fraction(0.9)),
        throttled: None,
        lasts: Duration::from_secs(30),
        oom_kills: 0,
    }
}

fn object(kind: &str, name: &str, facts: Value) -> What {
    What::Object(ObjectEvent {
        object: kind.into(),
        name: name.into(),
        change: ObjectChange::Changed,
        version: "1".into(),
        facts: serde_json::from_value(facts).unwrap(),
    })
}

fn in_cluster(sim: &mut Sim) {
    sim.scenario.target = Target::Kubernetes(KubernetesTarget {
        kubeconfig: None,
        context: None,
        namespace: None,
        service: "shop".into(),
        port: None,
        scheme: "http".into(),
        reach: Reach::Auto,
        guardian: GuardianSettings::default(),
        common: Default::default(),
    });
}

fn runs(sim: &mut Sim, pod: &str, resources: &Value) {
    let facts = json!({"phase": "Running", "containers": {"web": resources}});
    sim.push(S, object("Pod", pod, facts));
}

/// A sample over the `window` seconds before `t`.
fn sample(sim: &mut Sim, pod: &str, t: f64, window: f64, used: Value) {
    let started: jiff::Timestamp = sim.record().header.started.parse().unwrap();
    let taken = started + Duration::from_micros(at(t));
    let facts = json!({"timestamp": taken.to_string(), "window": format!("{window}s"), "containers": {"web": used}});
    // It is told later than it was taken.
    sim.push(at(t + 3.0), object("PodUsage", pod, facts));
}

fn limits() -> Value {
    json!({"limits": {"cpu": "1", "memory": "64Mi"}, "requests": {"cpu": "500m", "memory": "64Mi"}})
}

/// Three minutes of traffic with a sample of the one pod every 10 s: CPU (thousandths) and memory (KiB) by the second.
fn run(
    expected: UsageExpectation,
    resources: Value,
    cpu: fn(u64) -> u64,
    memory: fn(u64) -> u64,
) -> Sim {
    let mut sim = Sim::steady(4, 180).expect(Expectation::Usage(expected));
    in_cluster(&mut sim);
    runs(&mut sim, "shop-1", &resources);
    for t in (0..180).step_by(10) {
        let used = json!({"cpu": format!("{}m", cpu(t)), "memory": format!("{}Ki", memory(t)),
            "periods": 100, "throttled-periods": 0});
        sample(&mut sim, "shop-1", t as f64, 10.0, used);
    }
    sim
}

/// Three minutes, in which the pod is above its bound for forty seconds.
pub(in crate::judge) fn busy() -> Sim {
    let cpu = |t| if t > 60 && t <= 100 { 950 } else { 100 };
    run(usual(), limits(), cpu, small)
}

fn verdict(sim: &Sim) -> Verdict {
    let verdicts = crate::judge::judge(&sim.record());
    { verdicts.into_iter() }
        .find(|v| v.oracle == "usage")
        .expect("a verdict")
}

#[track_caller]
fn judged(sim: &Sim, ruling: Ruling, words: &[&str]) {
    let verdict = verdict(sim);
    assert_eq!(verdict.verdict, ruling, "{verdict:#?}");
    for word in words {
        assert!(verdict.because.contains(word), "no {word}: {verdict:#?}");
    }
}

fn calm(_: u64) -> u64 {
    100
}

fn small(_: u64) -> u64 {
    30_000
}

#[test]
fn cpu_above_its_bound_for_long_enough_fails_and_for_less_does_not() {
    let busy = busy();
    let words = [
        "container web of shop-1 used up to 950m of CPU, 95% of its limit of 1000m",
        "above 90% of limit for 40 s from 60 s on (4 samples)",
    ];
    judged(&busy, Ruling::Fail, &words);
    assert_eq!(verdict(&busy).evidence[0].at_us, Some(at(60.0)));
    let short = run(
        usual(),
        limits(),
        |t| if t > 60 && t <= 80 { 950 } else { 100 },
        small,
    );
    judged(
        &short,
        Ruling::Pass,
        &["1 container kept to it", "at most 950m of CPU, 95%"],
    );
    let patient = UsageExpectation {
        lasts: Duration::from_secs(60),
        ..usual()
    };
    let patient = run(
        patient,
        limits(),
        |t| if t > 60 && t <= 100 { 950 } else { 100 },
        small,
    );
    judged(&patient, Ruling::Pass, &[]);
    // Twice too short is not once long enough.
    let torn = run(
        usual(),
        limits(),
        |t| if t % 30 == 0 { 100 } else { 950 },
        small,
    );
    judged(&torn, Ruling::Pass, &[]);
}

#[test]
fn memory_above_its_bound_fails_at_once() {
    let peak = run(usual(), limits(), calm, |t| {
        if t == 70 { 60_000 } else { 30_000 }
    });
    let words =
        ["used up to 58.6 MiB of memory, 91.6% of its limit of 64 MiB: above 90% of limit at 70 s"];
    judged(&peak, Ruling::Fail, &words);
    let long = run(usual(), limits(), calm, |t| {
        if (70..120).contains(&t) {
            60_000
        } else {
            30_000
        }
    });
    judged(&long, Ruling::Fail, &["for 40 s from 70 s on (5 samples)"]);
}

#[test]
fn a_share_of_the_request_and_an_amount_are_bounds_too() {
    let of_request = UsageExpectation {
        cpu: Most::OfRequest(Ratio::fraction(1.2)),
        ..usual()
    };
    let words = ["650m of CPU, 130% of its request of 500m: above 120% of request"];
    judged(
        &run(of_request.clone(), limits(), |_| 650, small),
        Ruling::Fail,
        &words,
    );
    judged(
        &run(of_request, limits(), |_| 550, small),
        Ruling::Pass,
        &[],
    );
    let amounts = UsageExpectation {
        cpu: Most::Amount(Cores::from_millis(80)),
        memory: Most::Amount(Size::bytes(100 << 20)),
        ..usual()
    };
    let none = json!({"limits": null, "requests": null});
    let words = ["used up to 100m of CPU: above 80m for 3 min"];
    judged(&run(amounts, none, calm, small), Ruling::Fail, &words[..0]);
}

#[test]
fn throttling_fails_where_it_is_seen() {
    let mut sim = run(usual(), limits(), calm, small);
    for event in &mut sim.events {
        if let What::Object(object) = &mut event.what
            && object.object == "PodUsage"
            && (at(60.0)..at(104.0)).contains(&event.at)
        {
            let used = &mut object.facts.get_mut("containers").unwrap()["web"];
            used["throttled-periods"] = 40.into();
        }
    }
    let words = [
        "container web of shop-1 was throttled in up to 40% of its scheduling periods",
        "in more than 25% of them for 50 s",
    ];
    judged(&sim, Ruling::Fail, &words);
    // The same share of hardly any periods.
    for event in &mut sim.events {
        if let What::Object(object) = &mut event.what
            && object.object == "PodUsage"
        {
            let used = &mut object.facts.get_mut("containers").unwrap()["web"];
            let tenth = |key: &str| used[key].as_f64().unwrap() / 10.0;
            let few = [tenth("periods"), tenth("throttled-periods")];
            used["periods"] = few[0].into();
            used["throttled-periods"] = few[1].into();
        }
    }
    judged(
        &sim,
        Ruling::Pass,
        &["throttled in 40% of its scheduling periods"],
    );
}

#[test]
fn each_kind_of_failure_is_told_and_the_rest_counted() {
    let mut sim = busy();
    runs(&mut sim, "shop-2", &limits());
    for t in (0..180).step_by(10) {
        let used = json!({"cpu": "990m", "memory": if t == 90 { "62Mi" } else { "30Mi" }});
        sample(&mut sim, "shop-2", t as f64, 10.0, used);
    }
    let words = [
        "container web of shop-2 used up to 990m of CPU",
        "; also: container web of shop-2 used up to 62 MiB of memory",
        "; 1 more",
    ];
    judged(&sim, Ruling::Fail, &words);
}

#[test]
fn a_kill_for_memory_fails_unless_it_is_allowed() {
    let kill = What::Incident {
        incident: Incident::OomKilled,
        instance: "shop-1".into(),
        detail: "container web: killed for its memory".into(),
    };
    let mut sim = run(usual(), limits(), calm, small);
    sim.push(at(100.0), kill.clone());
    judged(
        &sim,
        Ruling::Fail,
        &["shop-1: container web: killed for its memory at 100 s"],
    );
    let allowed = UsageExpectation {
        oom_kills: 1,
        ..usual()
    };
    let mut sim = run(allowed, limits(), calm, small);
    sim.push(at(100.0), kill);
    judged(&sim, Ruling::Pass, &[]);
}

#[test]
fn a_fault_that_was_in_force_is_named() {
    let mut sim = run(
        usual(),
        limits(),
        |t| if t > 60 && t <= 100 { 950 } else { 100 },
        small,
    );
    let stress = FaultKind::CpuStress {
        workers: 1,
        load: Ratio::fraction(1.0),
        place: StressPlace {
            container: None,
            image: String::new(),
        },
    };
    let number = sim.inject(stress, "shop-1", 55.0, Some(40));
    sim.undo(number, "shop-1", 95.0);
    judged(&sim, Ruling::Fail, &["with cpu-stress of shop-1 in force"]);
}

#[test]
fn without_a_limit_it_cannot_fail_and_does_not_pass() {
    let none = json!({"limits": {"memory": "64Mi"}, "requests": null});
    let sim = run(usual(), none.clone(), |_| 5_000, small);
    let words = [
        "container web of shop-1 has no CPU limit",
        "this cannot fail",
    ];
    judged(&sim, Ruling::Inconclusive, &words);
    let missing = verdict(&sim).missing.unwrap();
    assert!(missing.contains("`cpu: any`"), "{missing}");
    let any = UsageExpectation {
        cpu: Most::Any,
        ..usual()
    };
    judged(&run(any, none.clone(), |_| 5_000, small), Ruling::Pass, &[]);
    // What can fail does.
    judged(
        &run(usual(), none, calm, |_| 60_000),
        Ruling::Fail,
        &["91.6% of its limit"],
    );
}

#[test]
fn what_was_not_seen_is_inconclusive() {
    let whole = run(usual(), limits(), calm, small);
    let without = |lost: fn(u64) -> bool| {
        let mut sim = whole.clone();
        sim.events.retain(|e| {
            let sample = matches!(&e.what, What::Object(o) if o.object == "PodUsage");
            !sample || !lost((e.at.saturating_sub(at(0.0))) / S)
        });
        sim
    };
    let mut none = without(|_| true);
    judged(&none, Ruling::Inconclusive, &["is not in the record"]);
    none.push(
        S,
        What::Note {
            level: Level::Warning,
            text: format!("{USAGE_NOT_RECORDED}: it may not"),
        },
    );
    judged(&none, Ruling::Inconclusive, &["not recorded: it may not"]);
    let gap = without(|t| (60..100).contains(&t));
    judged(
        &gap,
        Ruling::Inconclusive,
        &["was not seen for 40 s from 50 s on"],
    );
    judged(&without(|t| (60..80).contains(&t)), Ruling::Pass, &[]);
    judged(
        &without(|t| t > 125),
        Ruling::Inconclusive,
        &["was not seen for 60 s from 120 s on"],
    );
    judged(&without(|t| t > 160), Ruling::Pass, &[]);
    // Another pod, of which nothing is known.
    let mut other = whole.clone();
    runs(&mut other, "shop-2", &limits());
    judged(
        &other,
        Ruling::Inconclusive,
        &["the CPU of container web of shop-2 was not seen for 3 min"],
    );
    let mut blind = whole.clone();
    for (when, view) in [(70.0, View::Lost), (75.0, View::Relisted)] {
        let watch = WatchEvent {
            of: "pods".into(),
            view,
            detail: String::new(),
        };
        blind.push(at(when), What::Watch(watch));
    }
    judged(
        &blind,
        Ruling::Inconclusive,
        &["the pods were not watched for a time from 70 s on"],
    );
    // Lost before traffic, and back only in the middle of it.
    let mut early = whole.clone();
    early.blind("pods", -1.0, Some(40.0));
    judged(&early, Ruling::Inconclusive, &["the pods were not watched"]);
    let mut before = whole.clone();
    before.blind("pods", -1.8, Some(-1.2));
    judged(&before, Ruling::Pass, &[]);
    // Memory alone was seen, of what has a bound on both.
    let mut half = whole.clone();
    for event in &mut half.events {
        if let What::Object(object) = &mut event.what
            && object.object == "PodUsage"
        {
            let used = &mut object.facts.get_mut("containers").unwrap()["web"];
            used.as_object_mut().unwrap().remove("cpu");
        }
    }
    judged(
        &half,
        Ruling::Inconclusive,
        &["the CPU of container web of shop-1 was not seen for 3 min"],
    );
    let asked = UsageExpectation {
        throttled: Some(Ratio::fraction(0.05)),
        ..usual()
    };
    judged(
        &run(asked.clone(), limits(), calm, small),
        Ruling::Pass,
        &[],
    );
    let mut untold = run(asked, limits(), calm, small);
    for event in &mut untold.events {
        if let What::Object(object) = &mut event.what
            && object.object == "PodUsage"
        {
            let used = &mut object.facts.get_mut("containers").unwrap()["web"];
            used.as_object_mut().unwrap().remove("periods");
        }
    }
    judged(&untold, Ruling::Inconclusive, &["throttling was not seen"]);
}

#[test]
fn samples_that_are_too_coarse_and_runs_that_are_too_short_are_inconclusive() {
    let mut sim = Sim::steady(4, 180).expect(Expectation::Usage(usual()));
    in_cluster(&mut sim);
    runs(&mut sim, "shop-1", &limits());
    for t in [60, 120, 180] {
        let used = json!({"cpu": "100m", "memory": "30Mi"});
        sample(&mut sim, "shop-1", f64::from(t), 60.0, used);
    }
    judged(&sim, Ruling::Inconclusive, &["means over up to 60 s"]);
    let patient = UsageExpectation {
        lasts: Duration::from_secs(600),
        ..usual()
    };
    let sim = run(patient, limits(), |_| 990, small);
    judged(
        &sim,
        Ruling::Inconclusive,
        &["are judged, less than `for` (10m)"],
    );
}

#[test]
fn a_pod_that_came_at_the_end_needs_no_samples_and_one_that_left_only_while_it_ran() {
    let mut sim = run(usual(), limits(), calm, small);
    let facts = json!({"phase": "Running", "containers": {"web": limits()}});
    sim.push(at(160.0), object("Pod", "shop-2", facts.clone()));
    sim.push(at(1.0), object("Pod", "shop-3", facts.clone()));
    for t in (10..=60).step_by(10) {
        let used = json!({"cpu": "100m", "memory": "30Mi"});
        sample(&mut sim, "shop-3", f64::from(t), 10.0, used);
    }
    sim.push(
        at(65.0),
        object(
            "Pod",
            "shop-3",
            json!({"phase": "Running", "deleted": "now", "containers": {"web": limits()}}),
        ),
    );
    judged(&sim, Ruling::Pass, &["3 containers kept to it"]);
}

/// A minute of three processes: what `shop-2` holds, and what CPU `shop-3` uses from second 20 on.
fn processes(memory: u64, cpu: u64) -> Sim {
    let expected = UsageExpectation {
        cpu: Most::Amount(Cores::from_millis(500)),
        memory: Most::Amount(Size::bytes(100 << 20)),
        ..usual()
    };
    let mut sim = Sim::steady(4, 60).expect(Expectation::Usage(expected));
    for t in 0..60 {
        let used = [
            ("shop-1", 100, 10 << 20),
            ("shop-2", 100, memory),
            ("shop-3", if t > 20 { cpu } else { 100 }, 10 << 20),
        ];
        for (name, cpu_millicores, memory_bytes) in used {
            let usage = What::Usage {
                instance: name.into(),
                cpu_millicores,
                memory_bytes,
            };
            sim.push(at(f64::from(t)), usage);
        }
    }
    sim
}

#[test]
fn processes_of_this_machine_are_judged_by_amounts() {
    let words =
        "shop-2 used up to 200 MiB of memory: above 100MiB for 58 s from 1 s on (59 samples)";
    judged(&processes(200 << 20, 200), Ruling::Fail, &[words]);
    let words = "shop-3 used up to 600m of CPU: above 500m for 39 s from 20 s on (39 samples)";
    judged(&processes(20 << 20, 600), Ruling::Fail, &[words]);
    let words = ["3 instances kept to it", "200m of CPU (shop-3)"];
    judged(&processes(20 << 20, 200), Ruling::Pass, &words);
}

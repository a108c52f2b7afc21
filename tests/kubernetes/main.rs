//! The Kubernetes platform against a real cluster. Its tests are ignored unless asked for: as root,
//! `cargo test --test kubernetes -- --ignored`.

mod audit;
mod autoscale;
mod balance;
mod bed;
mod blind;
mod chaos_agent;
mod chaos_mesh;
mod deploy;
mod enforcer;
mod ephemeral;
mod guarded;
mod harness;
mod killed;
mod killed_elsewhere;
mod late;
mod meddled;
mod metrics_api;
mod partition;
mod remote;
mod shipped;
mod soak;
mod stateful;
mod strain;
mod usage;
mod whole;

use std::path::PathBuf;
use std::time::Duration;

use bed::{DEAF, SERVE, script, until, until_within};
use harness::{refused, run, says, target, with_bed};
use squall::platform::kubernetes::{Asked, KubernetesPlatform, UNDO_ANNOTATION};
use squall::platform::{Platform, PlatformError, Undo};
use squall::record::{Clock, Incident, InstanceState, Sink, View, What};
use squall::scenario::units::{Ratio, Size};
use squall::scenario::{Direction, FaultKind, KubernetesTarget, Reach};

fn asked(faults: Vec<FaultKind>) -> Asked {
    Asked {
        faults,
        ..Asked::default()
    }
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn what_is_wrong_is_said_before_any_traffic() {
    with_bed(|bed| async move {
        let ns = &*bed.namespace("t-errors");
        bed.web(ns, 1, SERVE);
        let good = target(&bed, ns);
        let dir = tempfile::tempdir().unwrap();
        let with = |name: &str, from: &str, to: &str| -> KubernetesTarget {
            let text = std::fs::read_to_string(&bed.kubeconfig)
                .unwrap()
                .replace(from, to);
            let path: PathBuf = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            KubernetesTarget {
                kubeconfig: Some(path),
                ..good.clone()
            }
        };
        let error = refused(&KubernetesTarget {
            context: Some("prod".into()),
            ..good.clone()
        })
        .await;
        assert!(matches!(error, PlatformError::Unsupported(_)));
        says(&error, &["no context prod", "testbed"]);
        let error = refused(&KubernetesTarget {
            kubeconfig: Some("/nowhere".into()),
            ..good.clone()
        })
        .await;
        says(&error, &["/nowhere"]);
        let error = refused(&with("refused", "10.200.0.1:6443", "10.200.0.1:6444")).await;
        assert!(matches!(error, PlatformError::Unreachable(_)));
        says(&error, &["nothing listens there", "10.200.0.1:6444"]);
        let error = refused(&with("expired", "admin-token", "old-token")).await;
        assert!(matches!(error, PlatformError::Unreachable(_)));
        says(&error, &["401", "expired"]);

        let error = refused(&KubernetesTarget {
            service: "wep".into(),
            ..good.clone()
        })
        .await;
        assert!(matches!(error, PlatformError::Unsupported(_)));
        says(&error, &["no Service wep", ns, "web"]);
        let error = refused(&KubernetesTarget {
            port: Some("grpc".into()),
            ..good.clone()
        })
        .await;
        says(&error, &["no port grpc", "http (80)"]);

        // An account that may do nothing.
        bed.kubectl(&["-n", ns, "create", "serviceaccount", "nobody"]);
        let token = bed.token(ns, "nobody");
        let error = refused(&with("nobody", "admin-token", &token)).await;
        says(
            &error,
            &["403", "cannot get resource", "services", "rbac.yaml"],
        );

        bed.kubectl(&["-n", ns, "scale", "deployment/web", "--replicas=0"]);
        until("no pods", || bed.uids(ns).is_empty());
        let error = refused(&good).await;
        says(&error, &["matches no pod", "app=web"]);
        bed.kubectl(&[
            "-n",
            ns,
            "set",
            "image",
            "deployment/web",
            "web=testbed.local/none:1",
        ]);
        bed.kubectl(&["-n", ns, "scale", "deployment/web", "--replicas=1"]);
        until("a pod that cannot start", || {
            let pods = bed.kubectl(&["-n", ns, "get", "pods"]);
            pods.contains("ErrImageNeverPull")
        });
        let error = refused(&good).await;
        assert!(matches!(error, PlatformError::Unreachable(_)));
        says(&error, &["none of the 1 pods", "ErrImageNeverPull"]);
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_killed_pod_leaves_the_endpoints_and_is_replaced() {
    with_bed(|bed| async move {
        let ns = &*bed.namespace("t-kill");
        bed.web(ns, 3, SERVE);
        let run = run(&target(&bed, ns)).await;
        assert!(
            run.endpoint.base_url.starts_with("http://10.96."),
            "{:?}",
            run.endpoint
        );
        assert!(
            run.names().contains(&run.get().await),
            "a pod answers with its name"
        );
        let instances = run.platform.instances();
        assert_eq!(instances.len(), 3);
        assert!(
            instances
                .iter()
                .all(|i| i.ready && i.labels["squall.owner"] == "Deployment/web")
        );
        assert!(
            instances
                .iter()
                .all(|i| i.labels["squall.zone"].starts_with('z')),
            "{instances:?}"
        );
        let (first, second) = (instances[0].clone(), instances[1].clone());

        let kill = |grace| FaultKind::PodKill { grace };
        let undo = run
            .apply(kill(Some(Duration::ZERO)), &first.name)
            .await
            .expect("kill");
        assert_eq!(undo, None);
        let ended = run.state(&first.name, InstanceState::Ended).await;
        let gone = run
            .told(
                "endpoints without it",
                |w| matches!(w, What::Endpoints { ready } if !ready.contains(&first.name)),
            )
            .await;
        let replacement = run.told("a ready replacement in its place", |w| {
            matches!(w, What::Instance(e) if e.slot == first.slot && e.name != first.name && e.state == InstanceState::Ready)
        }).await;
        assert!(replacement.at > ended.at && replacement.at > gone.at);

        // With grace it is told to end first, and has left the endpoints before it is gone.
        run.apply(kill(None), &second.name)
            .await
            .expect("kill with grace");
        let told = run.state(&second.name, InstanceState::Terminating).await;
        let gone = run
            .told(
                "endpoints without it",
                |w| matches!(w, What::Endpoints { ready } if !ready.contains(&second.name)),
            )
            .await;
        let ended = run.state(&second.name, InstanceState::Ended).await;
        assert!(
            told.at < ended.at && gone.at < ended.at,
            "{told:?} {gone:?} {ended:?}"
        );

        let error = run.apply(kill(None), &first.name).await.unwrap_err();
        says(&error, &["gone", "nothing was done"]);
        run.platform.stop().await.unwrap();
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_budget_holds_an_eviction() {
    with_bed(|bed| async move {
        let ns = &*bed.namespace("t-evict");
        bed.web(ns, 2, SERVE);
        bed.budget(ns, 0);
        let run = run(&target(&bed, ns)).await;
        let before = bed.uids(ns);
        let victim = run.names()[0].clone();
        let evict = FaultKind::Evict {
            deadline: Duration::from_secs(3),
        };
        let error = run.apply(evict.clone(), &victim).await.unwrap_err();
        assert!(matches!(error, PlatformError::Held(_)), "{error:?}");
        says(&error, &["budget held", &victim]);
        assert_eq!(bed.uids(ns), before, "nothing was killed");
        bed.budget(ns, 1);
        let evict = FaultKind::Evict {
            deadline: Duration::from_secs(30),
        };
        run.apply(evict, &victim).await.expect("evict");
        run.state(&victim, InstanceState::Ended).await;
        run.platform.stop().await.unwrap();
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_drained_node_is_emptied_and_given_back() {
    with_bed(|bed| async move {
        let ns = &*bed.namespace("t-drain");
        bed.web(ns, 4, SERVE);
        bed.budget(ns, 1);
        let run = run(&target(&bed, ns)).await;
        let victim = run.platform.instances().into_iter().next().unwrap();
        let node = victim.labels["squall.node"].clone();
        let on_node = || {
            let selector = format!("spec.nodeName={node}");
            bed.json(&["-n", ns, "get", "pods", "--field-selector", &selector])["items"]
                .as_array()
                .unwrap()
                .len()
        };
        assert!(on_node() > 0);
        let drain = FaultKind::Drain {
            deadline: Duration::from_secs(60),
        };
        let undo = run
            .apply(drain.clone(), &victim.name)
            .await
            .expect("drain")
            .expect("an undo");
        until("the node to be empty", || on_node() == 0);
        let seen = bed.json(&["get", "node", &node]);
        assert_eq!(seen["spec"]["unschedulable"], true);
        run.told("the node unschedulable", |w| {
            matches!(w, What::Object(o) if o.name == node && o.facts.get("unschedulable") == Some(&true.into()))
        }).await;
        run.undo_as_another_process(&undo).await;
        let seen = bed.json(&["get", "node", &node]);
        assert_eq!(seen["spec"].get("unschedulable"), None);
        assert_eq!(seen["metadata"]["annotations"].get(UNDO_ANNOTATION), None);
        run.platform.stop().await.unwrap();
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn workloads_are_scaled_rolled_and_put_back() {
    with_bed(|bed| async move {
        let ns = &*bed.namespace("t-scale");
        bed.web(ns, 3, SERVE);
        let run = run(&target(&bed, ns)).await;
        let web = || bed.json(&["-n", ns, "get", "deployment", "web"]);
        let before = web();
        let undo = run
            .apply(FaultKind::Scale { replicas: 1 }, &run.names()[0])
            .await
            .expect("scale")
            .expect("an undo");
        assert_eq!(web()["spec"]["replicas"], 1);
        until("two pods to go", || bed.uids(ns).len() == 1);
        let left = run
            .platform
            .instances()
            .into_iter()
            .find(|i| i.alive)
            .unwrap();
        let error = run
            .apply(FaultKind::Scale { replicas: 2 }, &left.name)
            .await
            .unwrap_err();
        says(&error, &["changed already", "nothing was done"]);
        run.platform.undo(&undo).await.expect("undo");
        assert_eq!(web()["spec"]["replicas"], 3);
        bed.rolled_out(ns, "deployment/web", 60);

        let image =
            |w: &serde_json::Value| w["spec"]["template"]["spec"]["containers"][0]["image"].clone();
        let bad = FaultKind::BadRollout {
            image: "testbed.local/none:1".into(),
        };
        let name = run
            .platform
            .instances()
            .into_iter()
            .find(|i| i.ready)
            .unwrap()
            .name;
        let undo = run
            .apply(bad, &name)
            .await
            .expect("bad rollout")
            .expect("an undo");
        run.told("the image that cannot be had", |w| {
            matches!(
                w,
                What::Incident {
                    incident: Incident::ImagePull,
                    ..
                }
            )
        })
        .await;
        run.platform.undo(&undo).await.expect("undo");
        assert_eq!(image(&web()), image(&before));
        assert_eq!(
            web()["spec"]["template"]["spec"],
            before["spec"]["template"]["spec"]
        );
        bed.rolled_out(ns, "deployment/web", 60);

        let before = bed.uids(ns);
        let name = run
            .platform
            .instances()
            .into_iter()
            .find(|i| i.ready)
            .unwrap()
            .name;
        let undo = run
            .apply(FaultKind::RolloutRestart, &name)
            .await
            .expect("restart");
        assert_eq!(undo, None);
        bed.rolled_out(ns, "deployment/web", 60);
        until_within(180, "the old pods to be gone", || {
            bed.uids(ns).iter().all(|uid| !before.contains(uid))
        });
        run.platform.stop().await.unwrap();
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn an_undo_does_not_touch_another_cluster() {
    with_bed(|bed| async move {
        let ns = &*bed.namespace("t-other");
        bed.web(ns, 1, SERVE);
        let run = run(&target(&bed, ns)).await;
        let undo = Undo::Restore {
            cluster: "https://192.0.2.1:6443".into(),
            kind: "Deployment".into(),
            namespace: Some(ns.into()),
            name: "web".into(),
        };
        says(
            &run.platform.undo(&undo).await.unwrap_err(),
            &["192.0.2.1", "testbed"],
        );
        run.platform.stop().await.unwrap();
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_signal_from_inside_ends_a_container_or_says_why_not() {
    with_bed(|bed| async move {
        let ns = &*bed.namespace("t-signal");
        bed.web(ns, 1, SERVE);
        let term = |container: Option<&str>, signal: &str| FaultKind::ContainerKill {
            container: container.map(Into::into),
            signal: signal.into(),
        };
        {
            let run = run(&target(&bed, ns)).await;
            let name = run.names()[0].clone();
            says(
                &run.apply(term(Some("db"), "TERM"), &name)
                    .await
                    .unwrap_err(),
                &["no container db", "web"],
            );
            says(
                &run.apply(term(None, "KILL"), &name).await.unwrap_err(),
                &["ignored", "pod-kill"],
            );
            says(
                &run.apply(term(None, "NOSUCH"), &name).await.unwrap_err(),
                &["failed", "NOSUCH"],
            );
            run.apply(term(None, "TERM"), &name).await.expect("TERM");
            run.told("the restart", |w| matches!(w, What::Incident { incident: Incident::Restarted, instance, .. } if *instance == name)).await;
            run.platform.stop().await.unwrap();
        }
        let ns = &*bed.namespace("t-deaf");
        bed.web(ns, 1, DEAF);
        let run = run(&target(&bed, ns)).await;
        let name = run.names()[0].clone();
        says(
            &run.apply(term(None, "TERM"), &name).await.unwrap_err(),
            &["ignores the signal"],
        );
        run.platform.stop().await.unwrap();
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn the_watches_outlive_the_api_server() {
    with_bed(|bed| async move {
        let ns = &*bed.namespace("t-outage");
        bed.web(ns, 2, SERVE);
        let run = run(&target(&bed, ns)).await;
        let lost = |w: &What| matches!(w, What::Watch(v) if v.of == "pods" && v.view == View::Lost);
        let back = |w: &What| matches!(w, What::Watch(v) if v.of == "pods" && v.view != View::Lost);
        script("apiserver-stop.sh", &[]);
        run.told("the loss", lost).await;
        // Longer than a view may be behind.
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(run.names().contains(&run.get().await), "traffic goes on");
        let error = run
            .apply(FaultKind::PodKill { grace: None }, &run.names()[0])
            .await
            .unwrap_err();
        assert!(matches!(error, PlatformError::Unreachable(_)), "{error:?}");
        says(&error, &["the pods have not been seen for"]);
        script("apiserver-start.sh", &[]);
        // A server that has just come up may end a first watch again: each loss has its end all the same.
        run.told("the return", back).await;
        let victim = run.names()[0].clone();
        run.apply(
            FaultKind::PodKill {
                grace: Some(Duration::ZERO),
            },
            &victim,
        )
        .await
        .expect("kill");
        run.state(&victim, InstanceState::Ended).await;
        assert_eq!(run.count(lost), run.count(back), "every gap has an end");
        run.platform.stop().await.unwrap();
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_port_forward_carries_traffic_to_one_pod() {
    with_bed(|bed| async move {
        let ns = &*bed.namespace("t-forward");
        bed.web(ns, 2, SERVE);
        let target = KubernetesTarget {
            reach: Reach::PortForward,
            ..target(&bed, ns)
        };
        let run = run(&target).await;
        assert!(run.endpoint.base_url.starts_with("http://127.0.0.1:"));
        let pod = run.get().await;
        for _ in 0..5 {
            assert_eq!(run.get().await, pod, "always the same");
        }
        run.told(
            "the warning",
            |w| matches!(w, What::Note { text, .. } if text.contains("nothing is balanced")),
        )
        .await;
        run.apply(
            FaultKind::PodKill {
                grace: Some(Duration::ZERO),
            },
            &pod,
        )
        .await
        .expect("kill");
        run.state(&pod, InstanceState::Ended).await;
        assert_ne!(run.get().await, pod, "the next ready one takes over");
        run.platform.stop().await.unwrap();
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn every_fault_works_under_the_role_that_is_made_for_it() {
    with_bed(|bed| async move {
        let ns = &*bed.namespace("t-role");
        strain::web(&bed, ns, 2, None);
        let _enforcer = enforcer::Enforcer::start(&bed, ns);
        let _resources = chaos_agent::Resources::install(&bed);
        let _agent = chaos_agent::Agent::start(&bed, ns);
        let dir = tempfile::tempdir().unwrap();
        bed.grant(ns, &["rbac.yaml", "rbac-kubelets.yaml"]);
        let target = KubernetesTarget {
            kubeconfig: Some(bed.kubeconfig_of(ns, "squall", dir.path())),
            ..target(&bed, ns)
        };
        let soon = Duration::from_secs(60);
        let faults = vec![
            FaultKind::PodKill { grace: None },
            FaultKind::Evict { deadline: soon },
            FaultKind::ContainerKill {
                container: None,
                signal: "TERM".into(),
            },
            FaultKind::Cordon,
            FaultKind::Drain { deadline: soon },
            FaultKind::Scale { replicas: 3 },
            FaultKind::BadRollout {
                image: "testbed.local/none:1".into(),
            },
            FaultKind::RolloutRestart,
            FaultKind::CpuStress {
                workers: 1,
                load: Ratio::fraction(0.1),
                place: strain::place(),
            },
            FaultKind::MemoryStress {
                size: Size::bytes(8 << 20),
                place: strain::place(),
            },
            FaultKind::Partition {
                direction: Direction::Both,
                from: Default::default(),
                to: Default::default(),
            },
            FaultKind::NodeLoss {
                down: "true {node}".into(),
                up: "true {node}".into(),
            },
            FaultKind::BlackHole,
        ];
        for reach in [Reach::ClusterIp, Reach::PortForward] {
            let target = KubernetesTarget {
                reach,
                ..target.clone()
            };
            let (sink, _entries) = Sink::new(Clock::start());
            let platform = KubernetesPlatform::connect(&target, &asked(faults.clone()), sink)
                .await
                .expect("connect");
            let plan = platform.plan().unwrap();
            assert!(
                plan.iter().any(|l| l.contains("delete pods (pod-kill)")),
                "{plan:#?}"
            );
            assert!(!plan.iter().any(|l| l.contains("not allowed")), "{plan:#?}");
        }
        let run = run(&target).await;
        for fault in faults {
            let name = fault.name();
            // The one before may still be settling.
            until("the Deployment to be settled", || {
                bed.rolled_out(ns, "deployment/web", 90);
                true
            });
            // And the watches may be behind what kubectl has seen meanwhile.
            run.told_now("two ready pods, as in the cluster", |r| {
                let pods = bed.json(&["-n", ns, "get", "pods"]);
                let there = pods["items"].as_array().unwrap().iter();
                let there = there.filter(|p| p["metadata"].get("deletionTimestamp").is_none());
                let there: Vec<&str> = there
                    .filter_map(|p| p["metadata"]["name"].as_str())
                    .collect();
                let ready = r.platform.instances().into_iter().filter(|i| i.ready);
                let ready: Vec<String> = ready.map(|i| i.name).collect();
                ready.len() >= 2 && ready.iter().all(|name| there.contains(&name.as_str()))
            })
            .await;
            let ready = run
                .platform
                .instances()
                .into_iter()
                .find(|i| i.ready)
                .unwrap();
            let undo = run
                .apply(fault, &ready.name)
                .await
                .unwrap_or_else(|e| panic!("{name}: {e}"));
            if let Some(undo) = undo {
                run.platform
                    .undo(&undo)
                    .await
                    .unwrap_or_else(|e| panic!("undo of {name}: {e}"));
            }
        }
        run.platform.stop().await.unwrap();

        // Without one of the rules it is said before anything starts, all at once.
        let patch = r#"[{"op": "replace", "path": "/rules", "value": [
            {"apiGroups": [""], "resources": ["pods", "services"], "verbs": ["get", "list", "watch"]}]}]"#;
        bed.kubectl(&[
            "-n",
            ns,
            "patch",
            "role",
            "squall",
            "--type=json",
            "-p",
            patch,
        ]);
        let (sink, _entries) = Sink::new(Clock::start());
        let kill = asked(vec![FaultKind::PodKill { grace: None }]);
        let Err(error) = KubernetesPlatform::connect(&target, &kill, sink).await else {
            panic!("connected without the permission to kill");
        };
        assert!(matches!(error, PlatformError::Unreachable(_)));
        says(
            &error,
            &[
                "delete pods (pod-kill)",
                "watch endpointslices.discovery.k8s.io",
                "rbac.yaml",
            ],
        );
    });
}

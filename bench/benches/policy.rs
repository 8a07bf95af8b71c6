//! What does policy cost: a decision, a compilation, a change?
//!
//! `cargo bench -p weft-bench --bench policy -- decide` asks the table of a large cluster: 10,000
//! pods, all different, 1,000 policies, 110 pods of this node. `-- compile` makes that table, and
//! `-- change` changes it. Each sort of question is asked of many pods in turn: the caches are
//! warm, but it is not one flow.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use weft_bench::policy::{Asker, Scale, pod, policy};
use weft_policy::model::{Isolation, Peer, Peers, Policy, Ports, Rule};
use weft_policy::{Change, Engine};

fn decide(criterion: &mut Criterion) {
    let asker = Asker::new(Scale::FULL);
    println!("{:?}", asker.table().size());
    let mut group = criterion.benchmark_group("decide");
    group
        .throughput(Throughput::Elements(1))
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    for (sort, asks) in asker.sorts() {
        let mut asks = asks.iter().cycle();
        group.bench_function(sort, |bencher| {
            bencher.iter(|| asks.next().map(|ask| black_box(ask).of(asker.table())));
        });
    }
    group.finish();
}

fn compile(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compile");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(5));
    let changes = Scale::FULL.changes();
    group.bench_function("everything", |bencher| {
        bencher.iter_batched(
            || changes.clone(),
            |changes| {
                let mut engine = Engine::new(7);
                for change in changes {
                    engine.apply(change);
                }
                for name in Scale::FULL.locals() {
                    engine.enforce(&name);
                }
                engine.table();
                engine
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// One change and the table after it; the next iteration changes it back or on.
fn change(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("change");
    group
        .sample_size(50)
        .measurement_time(Duration::from_secs(3));
    let mut engine = Scale::FULL.engine();
    engine.table();
    let mut turn = 0u16;
    let mut bench = |name: &str, change: &dyn Fn(u16) -> Change| {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                turn += 1;
                engine.apply(change(turn));
                engine.table()
            });
        });
    };
    bench("label", &|turn| {
        let mut pod = pod(50, 7);
        pod.labels.insert("app".to_owned(), (turn % 10).to_string());
        Change::Pod(Arc::new(pod))
    });
    bench("label-of-this-node", &|turn| {
        let mut pod = pod(50, 0);
        pod.labels.insert("app".to_owned(), (turn % 10).to_string());
        Change::Pod(Arc::new(pod))
    });
    bench("address", &|turn| {
        let mut pod = pod(50, 7);
        if turn % 2 == 0 {
            pod.addresses.pop();
        }
        Change::Pod(Arc::new(pod))
    });
    bench("policy", &|turn| {
        let policy = Policy {
            egress: policy(50, turn % 2).egress,
            ..policy(50, 7)
        };
        Change::Policy(Arc::new(policy))
    });
    bench("namespace-label", &|turn| {
        let labels = [("group".to_owned(), (turn % 8).to_string())];
        Change::Namespace("team-9".to_owned(), labels.into())
    });
    // The only block around all pods, there and gone: every pod is another peer.
    bench("block-around-all-pods", &|turn| {
        Change::Policy(Arc::new(if turn % 2 == 0 { wide() } else { policy(50, 7) }))
    });
    group.finish();
}

/// A policy that also speaks of all pods' addresses.
fn wide() -> Policy {
    let mut policy = policy(50, 7);
    if let Isolation::Only(rules) = &mut policy.egress
        && let Ok(cidr) = "10.0.0.0/8".parse()
    {
        let except = Vec::new();
        rules.push(Rule {
            peers: Peers::Of(vec![Peer::Block { cidr, except }]),
            ports: Ports::Any,
        });
    }
    policy
}

criterion_group!(benches, decide, compile, change);
criterion_main!(benches);

//! How long does each stage of the road take? Nanoseconds per frame, by criterion.
//!
//! `cargo bench -p weft-bench --bench stages -- road` runs the stages with `road` in their name.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weft_bench::{Case, stages};

#[expect(
    clippy::disallowed_methods,
    reason = "a bench is where the clock is read"
)]
fn time(case: &mut Case, iterations: u64) -> Duration {
    let start = Instant::now();
    case.run(iterations);
    start.elapsed()
}

fn bench(criterion: &mut Criterion) {
    for (stage, cases) in stages() {
        let mut group = criterion.benchmark_group(stage);
        group.throughput(Throughput::Elements(1));
        group
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(2));
        for mut case in cases {
            let name = case.name().to_owned();
            case.prepare();
            group.bench_function(name, |bencher| {
                bencher.iter_custom(|iterations| time(&mut case, iterations));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);

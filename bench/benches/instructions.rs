//! How many instructions does each stage of the road take? Exact counts, the gate of CI.
//!
//! Valgrind counts this program's instructions while it runs one case N and 2N times; the
//! difference divided by N is one frame's, start-up and valgrind itself cancelled. Time on a busy
//! machine says little, this number is the same on every run of one build.
//!
//! `cargo bench -p weft-bench --bench instructions` prints the counts beside the baseline, with
//! `-- --check` fails where they differ by more than [`TOLERANCE`], with `-- --record` writes
//! them to `bench/instructions.toml`.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a failure of this program is for the person in front of it"
)]

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use weft_bench::stages;

/// Frames of the shorter run.
const FRAMES: u64 = 1000;
/// Per cent that a count may move without anybody having to say so.
const TOLERANCE: f64 = 2.0;
const COMPILER: &str = "compiler";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if let [count, name, frames] = arguments.as_slice()
        && count == "--count"
    {
        run(
            name,
            frames.parse().expect("--count takes a case and a number"),
        );
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("skipped: instruction counts need valgrind (apt-get install valgrind)");
        return if has("--check") {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        };
    }
    let counts = measure();
    if has("--record") {
        record(&counts);
        return ExitCode::SUCCESS;
    }
    let differ = compare(&counts, &read_baseline());
    if has("--check") && differ {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn run(name: &str, frames: u64) {
    let mut cases = stages().into_iter().flat_map(|(stage, cases)| {
        cases
            .into_iter()
            .map(move |case| (format!("{stage}/{}", case.name()), case))
    });
    let (_, mut case) = cases
        .find(|(known, _)| known == name)
        .expect("no such case");
    case.run(frames);
}

fn measure() -> Vec<(String, f64)> {
    let names: Vec<String> = stages()
        .iter()
        .flat_map(|(stage, cases)| cases.iter().map(move |c| format!("{stage}/{}", c.name())))
        .collect();
    let per_frame = |name: String| {
        let extra = instructions(&name, 2 * FRAMES) - instructions(&name, FRAMES);
        (name, extra / FRAMES as f64)
    };
    names.into_iter().map(per_frame).collect()
}

/// Instructions of one whole process, as cachegrind counts them.
fn instructions(name: &str, frames: u64) -> f64 {
    let output = Command::new("valgrind")
        .args([
            "--tool=cachegrind",
            "--cache-sim=no",
            "--cachegrind-out-file=/dev/null",
        ])
        .arg(env::current_exe().expect("a running program has a path"))
        .args(["--count", name, &frames.to_string()])
        // An environment of the same size everywhere.
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .output()
        .expect("valgrind starts");
    let report = String::from_utf8_lossy(&output.stderr);
    let count = report
        .lines()
        .find_map(|line| line.split_once("I   refs:"))
        .map(|(_, count)| {
            count
                .chars()
                .filter(char::is_ascii_digit)
                .collect::<String>()
                .parse()
                .ok()
        });
    match count.flatten() {
        Some(count) if output.status.success() => count,
        _ => panic!("valgrind counted nothing for {name}:\n{report}"),
    }
}

fn compiler() -> String {
    let output = Command::new("rustc")
        .arg("--version")
        .output()
        .expect("rustc starts");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn baseline_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.toml")
}

fn record(counts: &[(String, f64)]) {
    let mut text = String::from(
        "# Instructions per frame, the first baseline of each stage. Written by\n\
         #   cargo bench -p weft-bench --bench instructions -- --record\n\
         # Valgrind offers no AVX-512, so these are the AVX2 paths of the C library.\n\n",
    );
    writeln!(text, "{COMPILER} = {:?}\n\n[instructions]", compiler()).expect("to a string");
    for (name, count) in counts {
        writeln!(text, "{name:?} = {count:.1}").expect("to a string");
    }
    fs::write(baseline_path(), text).expect("bench/instructions.toml is writable");
}

fn read_baseline() -> toml::Table {
    let text = fs::read_to_string(baseline_path()).unwrap_or_default();
    text.parse()
        .expect("bench/instructions.toml is as --record writes it")
}

/// Prints every count beside its baseline; true if one of them is out of tolerance or unknown.
fn compare(counts: &[(String, f64)], baseline: &toml::Table) -> bool {
    let known = baseline.get("instructions").and_then(toml::Value::as_table);
    let mut differ = false;
    for (name, count) in counts {
        let was = known
            .and_then(|known| known.get(name))
            .and_then(toml::Value::as_float);
        let verdict = match was.map(|was| (was, (count - was) / was * 100.0)) {
            Some((was, change)) if change.abs() <= TOLERANCE => format!("{was:.1}"),
            Some((was, change)) => {
                differ = true;
                format!("{was:.1}  DIFFERS by {change:+.1} %: say why and --record")
            }
            None => {
                differ = true;
                "not in the baseline: --record".to_owned()
            }
        };
        println!("{name:<40} {count:>9.1}  baseline {verdict}");
    }
    let recorded_with = baseline.get(COMPILER).and_then(toml::Value::as_str);
    if differ && recorded_with != Some(compiler().as_str()) {
        println!("the baseline is of another compiler ({recorded_with:?}): no gate");
        return false;
    }
    differ
}

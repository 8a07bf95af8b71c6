//! A lab for one test: unique by name, always torn down, driven through the command line only.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

/// How often something is looked for on a busy machine before it counts as missing.
const LOOKS: u32 = 4_000;

/// Whether this process may make namespaces; says loudly that `test` is skipped if not.
pub(crate) fn may_run(test: &str) -> bool {
    match weft_sys::caps::check() {
        Ok(()) => true,
        Err(missing) => {
            // One write, past the test harness, which shows nothing of a test that passes.
            let line = format!("SKIPPED (needs root): {test}: {}\n", missing.why);
            let _ = io::stderr().write_all(line.as_bytes());
            false
        }
    }
}

/// What a command answered.
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

pub(crate) fn weft(arguments: &[&str]) -> Answer {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    let output = command
        .args(arguments)
        .env_remove("WEFT_LAB")
        .env_remove("WEFT_SOCKET")
        .output();
    output.expect("weft starts").into()
}

/// A lab's files and, while it lives, the lab.
pub(crate) struct Lab {
    pub(crate) name: String,
    folder: tempfile::TempDir,
}

impl Lab {
    /// Writes the files; `{name}` in `lab` becomes a name no other test has.
    pub(crate) fn new(lab: &str, pods: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{}-{number}", std::process::id());
        let folder = tempfile::tempdir().expect("a temporary folder");
        let lab = Self {
            name: name.clone(),
            folder,
        }
        .with("lab.yaml", &lab.replace("{name}", &name));
        lab.with("pods.yaml", pods)
    }

    pub(crate) fn with(self, file: &str, text: &str) -> Self {
        fs::write(self.path(file), text).expect("a file of the lab");
        self
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    pub(crate) fn up(&self) -> Answer {
        let file = self.path("lab.yaml");
        weft(&["lab", "up", "-f", file.to_str().expect("UTF-8")])
    }

    /// A command about this lab: `lab WORD --lab NAME …`.
    pub(crate) fn run(&self, word: &str, rest: &[&str]) -> Answer {
        weft(&[&["lab", word, "--lab", &self.name], rest].concat())
    }

    pub(crate) fn json(&self, word: &str, rest: &[&str]) -> Value {
        let answer = self.run(word, &[&["-o", "json"], rest].concat());
        serde_json::from_str(&answer.out)
            .unwrap_or_else(|e| panic!("{word}: {e}: {}{}", answer.out, answer.err))
    }

    /// Pairs of the matrix that may not talk, as `from→to`.
    pub(crate) fn denied(&self, rest: &[&str]) -> Vec<String> {
        let matrix = self.json("matrix", rest);
        let verdicts = matrix["verdicts"].as_array().expect("verdicts");
        assert!(!verdicts.is_empty());
        let denied = verdicts.iter().filter(|pair| pair["verdict"] != "allow");
        denied
            .map(|p| format!("{}→{}", p["from"], p["to"]))
            .collect()
    }

    /// Asks until there is an answer; a process that was killed needs a moment to be gone.
    pub(crate) fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
        let tick = Duration::from_millis(5);
        for _ in 0..LOOKS {
            if let Some(answer) = ask() {
                return answer;
            }
            let (_silent, never) = std::sync::mpsc::channel::<()>();
            let _ = never.recv_timeout(tick);
        }
        panic!("nothing within {:?}", tick * LOOKS);
    }

    pub(crate) fn state(&self) -> PathBuf {
        Path::new("/run/weft/lab").join(&self.name)
    }

    /// Processes with this lab's folder among their arguments.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let state = self.state();
        let state = state.to_str().expect("UTF-8");
        let all = fs::read_dir("/proc").expect("/proc").flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| {
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&arguments).contains(state)
        })
        .collect()
    }

    pub(crate) fn namespaces(&self) -> Vec<String> {
        weft_sys::netns::Netns::list(&format!("weft.{}.", self.name)).expect("namespaces")
    }

    /// Everything that is left of the lab.
    pub(crate) fn remains(&self) -> Vec<String> {
        let mut remains = self.namespaces();
        remains.extend(self.processes().iter().map(|pid| format!("process {pid}")));
        if self.state().exists() {
            remains.push(self.state().display().to_string());
        }
        remains
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if weft_sys::caps::check().is_ok() {
            let _ = weft(&["lab", "down", &self.name]);
        }
    }
}

/// Kills at once, as the kernel does when memory runs out.
pub(crate) fn kill(pid: u32) {
    use weft_sys::process::{ProcessId, Signal};
    if let Ok(Some(id)) = ProcessId::of(pid) {
        let _ = id.signal(Signal::Kill);
    }
}

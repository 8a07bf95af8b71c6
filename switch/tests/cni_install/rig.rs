//! A node to install on, and what tests ask of it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use weft_cni::daemon::{Outcome, Readiness, Reply, codec};
use weft_switch::api::{Call, Request, Status};

use crate::common::command::{self, Outcome as Ended};
use crate::common::command_of;

pub(crate) const LIMIT: Duration = Duration::from_secs(60);
pub(crate) const LIST: &str = "10-weft.conflist";
pub(crate) const PLUGIN: &[u8] = b"#!/bin/sh\n# the CNI plugin of weft, a userspace dataplane\n";
pub(crate) const OLDER: &[u8] =
    b"#!/bin/sh\n# the CNI plugin of weft, a userspace dataplane, once\n";
pub(crate) const FOREIGN: &[u8] = b"#!/bin/sh\n# somebody else's\n";

/// A node's directories, and a `weft` with its `weft-cni` beside it.
pub(crate) struct Node {
    pub(crate) weft: TempDir,
    pub(crate) root: TempDir,
}

impl Node {
    pub(crate) fn new() -> Self {
        let node = Self::without_plugin();
        node.release(PLUGIN);
        node
    }

    /// A `weft` alone, which is the plugin itself.
    pub(crate) fn without_plugin() -> Self {
        let weft = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::hard_link(env!("CARGO_BIN_EXE_weft"), weft.path().join("weft")).unwrap();
        let root = tempfile::tempdir().unwrap();
        Self { weft, root }
    }

    /// Another build of the plugin.
    pub(crate) fn release(&self, plugin: &[u8]) {
        fs::write(self.weft.path().join("weft-cni"), plugin).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn list(&self) -> PathBuf {
        self.path("net.d").join(LIST)
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.path("bin").join(name)
    }

    /// Makes the runtime's directories, as a package of the runtime does.
    pub(crate) fn directories(&self) {
        for name in ["net.d", "bin"] {
            fs::create_dir(self.path(name)).unwrap();
            chmod(&self.path(name), 0o755);
        }
    }

    pub(crate) fn command(&self, verb: &str, arguments: &[&str]) -> Command {
        let mut weft = command_of(self.weft.path().join("weft"));
        weft.args(["cni", verb]);
        weft.arg("--conf-dir").arg(self.path("net.d"));
        weft.arg("--bin-dir").arg(self.path("bin"));
        weft.arg("--socket").arg(self.path("weft.sock"));
        weft.arg("--state-dir").arg(self.path("state"));
        weft.args(arguments);
        weft
    }

    pub(crate) fn run(&self, verb: &str, arguments: &[&str]) -> Ended {
        command::run(&mut self.command(verb, arguments), LIMIT)
    }

    pub(crate) fn install(&self) {
        self.run("install", &[]).ok();
    }

    /// The outcome of each item of `-o json`.
    pub(crate) fn outcomes(&self, verb: &str, arguments: &[&str]) -> Vec<(String, String)> {
        let json = [arguments, &["-o", "json"]].concat();
        outcomes(&self.run(verb, &json).ok())
    }

    /// Every file below, with what it is.
    pub(crate) fn files(&self) -> Vec<(PathBuf, u64, Vec<u8>)> {
        let mut files = Vec::new();
        for name in ["net.d", "bin"] {
            for entry in fs::read_dir(self.path(name)).into_iter().flatten() {
                let path = entry.unwrap().path();
                let inode = fs::symlink_metadata(&path).unwrap().ino();
                let bytes = fs::read(&path).unwrap_or_default();
                files.push((path, inode, bytes));
            }
        }
        files.sort();
        files
    }
}

pub(crate) fn outcomes(json: &str) -> Vec<(String, String)> {
    let report: Value = serde_json::from_str(json).unwrap();
    let word = |item: &Value, key: &str| item[key].as_str().unwrap().to_owned();
    let items = report["items"].as_array().unwrap().iter();
    items
        .map(|item| (word(item, "item"), word(item, "outcome")))
        .collect()
}

pub(crate) fn pairs(items: &[(&str, &str)]) -> Vec<(String, String)> {
    let pair = |(item, outcome): &(&str, &str)| ((*item).to_owned(), (*outcome).to_owned());
    items.iter().map(pair).collect()
}

pub(crate) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

pub(crate) fn refused(outcome: &Ended, code: i32, words: &[&str]) {
    assert_eq!(outcome.code, Some(code), "{outcome}");
    for word in words {
        assert!(outcome.stderr.contains(word), "no {word:?} in {outcome}");
    }
}

/// Answers every call at the node's socket as a daemon with `pods` would, until the test ends.
pub(crate) fn daemon(node: &Node, ready: bool, pods: usize) {
    let listener = UnixListener::bind(node.path("weft.sock")).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            while let Ok(Some(bytes)) = codec::read_frame(&mut stream) {
                let request: Request = codec::decode(&bytes).unwrap();
                let answer = match request.call {
                    Call::Ready => serde_json::to_value(Readiness {
                        ready,
                        impaired: false,
                        why: if ready { "" } else { "no manifests yet" }.to_owned(),
                        next: if ready { "" } else { "write some" }.to_owned(),
                    }),
                    _ => serde_json::to_value(Status {
                        pods,
                        ..Status::default()
                    }),
                };
                let reply = Reply::new(Outcome::Ok(answer.unwrap()));
                codec::write_message(&mut stream, &reply).unwrap();
            }
        }
    });
}

//! A daemon that speaks the plugin's messages and does nothing: it remembers attachments, and may
//! hang, refuse or speak another version.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use weft_cni::daemon::codec::{decode, encode};
use weft_cni::daemon::{Call, Code, Failure, Identity, Outcome, Reply, Request};
use weft_sys::netns::{Netns, NetnsId};
use weft_sys::unixsock::recv_exact_with_fds;

/// How it answers.
#[derive(Clone, Debug)]
pub(crate) enum Manner {
    /// As the daemon does when all is well.
    Up,
    /// Never, though it listens and reads.
    Hanging,
    /// By closing the connection.
    Closing,
    /// In version 2 of the messages.
    NewerVersion,
    /// In what is no message.
    Babbling,
    /// With a refusal.
    Refusing(Code),
    /// As one that is not ready; whether running pods may be cut off.
    Unready(bool),
    /// As when all is well, but for refusing this one verb.
    RefusingOnly(&'static str, Code),
}

/// What it was asked and remembers.
#[derive(Debug, Default)]
struct Memory {
    calls: Vec<Call>,
    namespaces: Vec<NetnsId>,
    attached: BTreeMap<Identity, Value>,
}

/// A daemon that ends with its test.
#[derive(Debug)]
pub(crate) struct FakeDaemon {
    socket: PathBuf,
    listener: UnixListener,
    memory: Arc<Mutex<Memory>>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FakeDaemon {
    pub(crate) fn start(socket: &Path, manner: Manner) -> Self {
        let _ = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket).unwrap();
        let memory = Arc::new(Mutex::new(Memory::default()));
        let ending = Arc::new(AtomicBool::new(false));
        let accepting = listener.try_clone().unwrap();
        let thread = std::thread::spawn({
            let (memory, ending) = (Arc::clone(&memory), Arc::clone(&ending));
            move || {
                // Whom a hanging daemon leaves waiting.
                let mut kept = Vec::new();
                for stream in accepting.incoming() {
                    if ending.load(Ordering::Acquire) {
                        return;
                    }
                    let stream = stream.unwrap();
                    if let Some(stream) = serve(stream, &manner, &memory) {
                        kept.push(stream);
                    }
                }
            }
        });
        Self {
            socket: socket.to_owned(),
            listener,
            memory,
            ending,
            thread: Some(thread),
        }
    }

    /// What it was asked, in order.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.memory.lock().unwrap().calls.clone()
    }

    /// The namespaces that came along.
    pub(crate) fn namespaces(&self) -> Vec<NetnsId> {
        self.memory.lock().unwrap().namespaces.clone()
    }

    /// What is attached.
    pub(crate) fn attached(&self) -> Vec<Identity> {
        self.memory
            .lock()
            .unwrap()
            .attached
            .keys()
            .cloned()
            .collect()
    }
}

impl Drop for FakeDaemon {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        // Wakes it, even where the socket's folder is gone already.
        rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both).unwrap();
        let ended = self.thread.take().unwrap().join();
        let _ = std::fs::remove_file(&self.socket);
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}

/// Serves one connection; gives it back if it is to stay open unanswered.
fn serve(mut stream: UnixStream, manner: &Manner, memory: &Mutex<Memory>) -> Option<UnixStream> {
    let mut fds: Vec<OwnedFd> = Vec::new();
    let mut prefix = [0; 4];
    recv_exact_with_fds(&stream, &mut prefix, &mut fds).ok()?;
    let mut json = vec![0; usize::try_from(u32::from_le_bytes(prefix)).unwrap()];
    stream.read_exact(&mut json).ok()?;
    let call = decode::<Request<Call>>(&json).unwrap().call;
    let mut memory = memory.lock().unwrap();
    memory.calls.push(call.clone());
    let namespaces = fds.into_iter().map(|fd| Netns::from_fd(fd).id().unwrap());
    memory.namespaces.extend(namespaces);
    let refuse = |code| {
        let failure = Failure::new(code, "the pool is out of luck", "wait for better times");
        Reply::new(Outcome::Error(failure))
    };
    let reply = match manner {
        Manner::Hanging => return Some(stream),
        Manner::Closing => return None,
        Manner::Babbling => {
            stream
                .write_all(&[5, 0, 0, 0, b'h', b'e', b'l', b'l', b'o'])
                .ok()?;
            return None;
        }
        Manner::NewerVersion => Reply {
            version: 2,
            ..Reply::new(Outcome::Ok(json!({"new": true})))
        },
        Manner::Refusing(code) => refuse(*code),
        Manner::RefusingOnly(verb, code) if is(&call, verb) => refuse(*code),
        Manner::Unready(impaired) => Reply::new(Outcome::Ok(json!({
            "ready": false, "impaired": impaired,
            "why": "10.244.1.0/24 is exhausted", "next": "give the node a larger range",
        }))),
        Manner::Up | Manner::RefusingOnly(..) => Reply::new(answer(call, &mut memory.attached)),
    };
    stream.write_all(&encode(&reply).unwrap()).ok()?;
    None
}

fn is(call: &Call, verb: &str) -> bool {
    serde_json::to_value(call).unwrap().get(verb).is_some()
}

fn answer(call: Call, attached: &mut BTreeMap<Identity, Value>) -> Outcome {
    match call {
        Call::Attach(attach) => {
            let key = Identity {
                container_id: attach.container_id.clone(),
                ifname: attach.ifname.clone(),
            };
            let ips = match &attach.ips[..] {
                [] => json!(["10.244.1.5/32", "fd00:10:244:1::5/128"]),
                ips => ips.iter().map(|ip| host_prefix(ip.ip())).collect(),
            };
            let families = ips
                .as_array()
                .unwrap()
                .iter()
                .map(|ip| ip.to_string().contains(':'));
            let gateways: Vec<_> = families
                .map(|six| if six { "fe80::1" } else { "169.254.1.1" })
                .collect();
            let value = json!({
                "port": 7, "container_id": attach.container_id, "ifname": attach.ifname,
                "mac": attach.mac.unwrap_or_else(|| "02:00:0a:f4:01:05".into()),
                "mtu": attach.mtu.unwrap_or(1450), "ips": ips,
                "gateways": gateways, "default_via": gateways, "backend": "fast",
            });
            Outcome::Ok(attached.entry(key).or_insert(value).clone())
        }
        Call::Detach(detach) => {
            let key = Identity {
                container_id: detach.container_id,
                ifname: detach.ifname,
            };
            Outcome::Ok(json!({"existed": attached.remove(&key).is_some()}))
        }
        Call::Check(check) => {
            let key = Identity {
                container_id: check.container_id,
                ifname: check.ifname,
            };
            let told = serde_json::to_value(&check.ips).unwrap();
            match attached.get(&key) {
                Some(made) if made["ips"] == told => Outcome::Ok(json!({"port": 7})),
                _ => Outcome::Error(Failure::new(Code::Mismatch, "it is not so", "")),
            }
        }
        Call::Gc(gc) => {
            let stale = attached.extract_if(.., |key, _| !gc.valid.contains(key));
            let released: Vec<Identity> = stale.map(|(key, _)| key).collect();
            Outcome::Ok(json!({"released": released}))
        }
        Call::Ready => Outcome::Ok(json!({"ready": true, "impaired": false})),
    }
}

fn host_prefix(ip: std::net::IpAddr) -> Value {
    let bits = if ip.is_ipv4() { 32 } else { 128 };
    format!("{ip}/{bits}").into()
}

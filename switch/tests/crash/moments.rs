//! The daemon is killed at each system call of ADD, DEL and GC, and its disk fails at each of
//! them: after a restart and one GC all is as if the operation had never been asked for, or had
//! been finished. Whatever was acknowledged is so.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;

use weft_cni::tombstone::Tombstones;
use weft_switch::api::{Attached, ClientError, Detach};

use super::rig::{Space, identity, privileged};
use super::site::{Differences, Site};
use super::strace::{Moment, Strace, Thread, came_true, launch, learn, learn_start};
use super::{installed, soon, tell};

/// Sites at work at once.
const SITES: usize = 3;
/// So many wrong moments end a test.
const ENOUGH: usize = 10;
/// The pod an operation is about.
const POD: &str = "pod";
/// A pod that was deleted while no daemon listened.
const DELETED: &str = "deleted";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Add,
    Del,
    Gc,
}

/// The namespaces an operation works on.
struct Scene {
    pod: Space,
    deleted: Space,
}

impl Operation {
    /// Makes what the operation needs.
    fn prepare(self, site: &Site) -> Scene {
        let (pod, deleted) = (Space::new(), Space::new());
        if self != Self::Add {
            site.attach(POD, &pod).unwrap();
        }
        if self == Self::Gc {
            site.node.attach(DELETED, &[], &deleted).unwrap();
            let notes = Tombstones::open(&site.node.path("state")).unwrap();
            notes.note(&identity(DELETED), "").unwrap();
        }
        Scene { pod, deleted }
    }

    fn perform(self, site: &Site, scene: &Scene) -> Result<Option<Attached>, ClientError> {
        match self {
            Self::Add => site.attach(POD, &scene.pod).map(Some),
            Self::Del => {
                let identity = identity(POD);
                let request = Detach {
                    container_id: identity.container_id,
                    ifname: identity.ifname,
                };
                site.node.connect()?.detach(request).map(|_| None)
            }
            Self::Gc => site.collect(&[]).map(|()| None),
        }
    }

    /// Whether nothing of it is under way any more.
    fn is_over(self, scene: &Scene) -> bool {
        self == Self::Add || scene.pod.links().is_empty() && scene.deleted.links().is_empty()
    }

    /// Every system call of it.
    fn moments(self) -> Vec<Moment> {
        let site = Site::new();
        let scene = self.prepare(&site);
        let operation = || {
            self.perform(&site, &scene).unwrap();
            assert!(soon(|| self.is_over(&scene)), "{self:?} does not end");
        };
        learn(site.node.pid(), &site.node.path("trace"), operation)
    }

    /// What is wrong after one GC, then when the operation is asked for again, and with the range.
    fn judge(self, site: &Site, scene: &Scene, answer: Option<&Attached>) -> Differences {
        let valid: &[&str] = if answer.is_some() { &[POD] } else { &[] };
        if let Err(error) = site.collect(valid) {
            return vec![format!("GC: {error}")];
        }
        let state = |answer: Option<&Attached>| match answer {
            Some(attached) => site.differences(&[(POD, &scene.pod, attached)], &[&scene.deleted]),
            None => site.differences(&[], &[&scene.pod, &scene.deleted]),
        };
        let mut found = state(answer);
        match self.perform(site, scene) {
            Ok(again) => {
                if let (Some(first), Some(again)) = (answer, &again)
                    && first.ips != again.ips
                {
                    found.push("asked again, it answers otherwise".to_owned());
                }
                let again = again.as_ref();
                found.extend(again.map_or_else(Vec::new, |again| state(Some(again))));
                found.extend(site.fill());
            }
            Err(error) => found.push(format!("asked again: {error}")),
        }
        if let Err(error) = Self::Del.perform(site, scene) {
            found.push(format!("DEL: {error}"));
        }
        found.extend(state(None));
        found
    }
}

/// What became of one moment.
struct Verdict {
    /// Whether it came at all.
    hit: bool,
    found: Differences,
}

/// The daemon is killed at `moment` of an operation.
fn killed(site: &mut Site, operation: Operation, moment: &Moment) -> Verdict {
    let scene = operation.prepare(site);
    let nowhere = Path::new("/dev/null");
    let strace = Strace::inject(site.node.pid(), moment.thread, &moment.killing(), nowhere);
    let answer = operation.perform(site, &scene);
    let hit = soon_if(answer.is_err() || moment.thread == Thread::Reaper, || {
        site.node.ended().is_some() || answer.is_ok() && operation.is_over(&scene)
    });
    let hit = hit && site.node.ended().is_some();
    // If it still lives, this kills it.
    site.node.daemon = None;
    drop(strace);
    let mut found = Differences::new();
    if matches!(answer, Ok(Some(_))) && scene.pod.links().is_empty() {
        found.push("the interface went with the daemon".to_owned());
    }
    site.node.start(&[]);
    match &answer {
        Err(error) if !hit => found.push(format!("refused though nobody disturbed: {error}")),
        Ok(attached) if attached.is_some() != site.has_port(POD) => {
            found.push("what was acknowledged is not so without a GC".to_owned());
        }
        // What was begun and not finished holds no address, GC or not.
        Err(_) if operation == Operation::Add => found.extend(site.fill()),
        _ => {}
    }
    let answer = answer.ok().flatten();
    found.extend(operation.judge(site, &scene, answer.as_ref()));
    Verdict { hit, found }
}

/// Waits for `is` if that is worthwhile.
fn soon_if(worthwhile: bool, mut is: impl FnMut() -> bool) -> bool {
    if worthwhile { soon(is) } else { is() }
}

/// The disk fails at `moment` of an operation, once; then the daemon is killed.
fn failed(site: &mut Site, operation: Operation, moment: &Moment, error: &str) -> Verdict {
    let scene = operation.prepare(site);
    let folder = tempfile::tempdir().unwrap();
    let noted = folder.path().join("injected");
    let strace = Strace::inject(
        site.node.pid(),
        moment.thread,
        &moment.failing(error),
        &noted,
    );
    let answer = operation.perform(site, &scene);
    drop(strace);
    let hit = came_true(&noted);
    let mut found = Differences::new();
    if error == "EINTR" && answer.is_err() {
        found.push("gave up though it was only interrupted".to_owned());
    }
    let answer = answer.ok().flatten();
    found.extend(operation.judge(site, &scene, answer.as_ref()));
    site.node.daemon = None;
    site.node.start(&[]);
    let after = operation.judge(site, &scene, None);
    found.extend(after.into_iter().map(|what| format!("restarted: {what}")));
    Verdict { hit, found }
}

/// Judges every case, some at once; fails with all that was found.
fn sweep<C: Send>(
    what: &str,
    cases: Vec<(String, C)>,
    judge: impl Fn(&mut Site, &C) -> Verdict + Sync,
) {
    let total = cases.len();
    let cases = Mutex::new(cases.into_iter());
    let (hits, wrong) = (Mutex::new(0), Mutex::new(BTreeMap::new()));
    let work = || {
        let mut site = Site::new();
        // Those that are wrong take their time, and some of them say enough.
        while wrong.lock().unwrap().len() < ENOUGH {
            let Some((name, case)) = cases.lock().unwrap().next() else {
                return;
            };
            let verdict = catch_unwind(AssertUnwindSafe(|| judge(&mut site, &case)));
            let verdict = verdict.unwrap_or_else(|_| Verdict {
                hit: true,
                found: vec!["the test panicked".to_owned()],
            });
            *hits.lock().unwrap() += usize::from(verdict.hit);
            if !verdict.found.is_empty() {
                wrong.lock().unwrap().insert(name, verdict.found);
                site = Site::new();
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..SITES {
            scope.spawn(work);
        }
    });
    let (hits, wrong) = (hits.into_inner().unwrap(), wrong.into_inner().unwrap());
    tell(&format!(
        "{what}: {total} moments, {hits} came true, {} are wrong",
        wrong.len()
    ));
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(hits * 3 > total, "hardly a moment came");
}

/// Those that are taken: of those that change something, one of `every` at least.
fn sample(moments: Vec<Moment>, every: usize) -> Vec<Moment> {
    let all = std::env::var_os("WEFT_CRASH").is_some_and(|value| value == "all");
    let taken = |(number, moment): &(usize, Moment)| {
        let changes = CHANGING.contains(&moment.syscall.as_str());
        // A look at every process is the same call again and again.
        let again = moment.nth > 30;
        match all {
            true => !again || changes || moment.nth % 16 == 0,
            false => !again && number % (if changes { every } else { 12 }) == 0,
        }
    };
    let moments = moments.into_iter().enumerate().filter(taken);
    moments.map(|(_, moment)| moment).collect()
}

/// System calls with which the daemon changes something outside of itself.
const CHANGING: [&str; 10] = [
    "clone3",
    "fdatasync",
    "fsync",
    "ftruncate",
    "ioctl",
    "renameat",
    "sendto",
    "setns",
    "unlinkat",
    "write",
];

fn killed_at_every_moment(operation: Operation, test: &str) {
    if !privileged(test) || !installed(test) {
        return;
    }
    let moments = sample(operation.moments(), 1);
    let cases = moments
        .into_iter()
        .map(|moment| (format!("{moment:?}"), moment));
    let judge = |site: &mut Site, moment: &Moment| killed(site, operation, moment);
    sweep(&format!("killed at {operation:?}"), cases.collect(), judge);
}

#[test]
fn killed_at_every_system_call_of_add() {
    killed_at_every_moment(Operation::Add, "killed_at_every_system_call_of_add");
}

#[test]
fn killed_at_every_system_call_of_del() {
    killed_at_every_moment(Operation::Del, "killed_at_every_system_call_of_del");
}

#[test]
fn killed_at_every_system_call_of_gc() {
    killed_at_every_moment(Operation::Gc, "killed_at_every_system_call_of_gc");
}

/// A daemon that has one pod to take up again and one deletion to catch up with is killed at
/// `moment` of its start.
fn killed_at_start(site: &mut Site, moment: &Moment) -> Verdict {
    let (scene, attached) = interrupted(site);
    let injection = format!("inject={}", moment.killing());
    let arguments = ["-qq", "-o", "/dev/null", "-e", &injection];
    launch(&mut site.node, &arguments);
    let mut hit = false;
    // One that is ready is past it.
    soon(|| {
        hit = site.node.ended().is_some();
        hit || site.node.status().is_ok_and(|status| status.ready)
    });
    site.node.daemon = None;
    site.node.start(&[]);
    let found = Operation::Add.judge(site, &scene, Some(&attached));
    Verdict { hit, found }
}

/// Leaves a site without daemon, with a pod and a deletion.
fn interrupted(site: &mut Site) -> (Scene, Attached) {
    let (pod, deleted) = (Space::new(), Space::new());
    let attached = site.attach(POD, &pod).unwrap();
    site.node.attach(DELETED, &[], &deleted).unwrap();
    site.node.daemon = None;
    let notes = Tombstones::open(&site.node.path("state")).unwrap();
    notes.note(&identity(DELETED), "").unwrap();
    (Scene { pod, deleted }, attached)
}

#[test]
fn killed_at_every_system_call_of_start() {
    const TEST: &str = "killed_at_every_system_call_of_start";
    if !privileged(TEST) || !installed(TEST) {
        return;
    }
    let mut site = Site::new();
    let (scene, _) = interrupted(&mut site);
    let trace = site.node.path("trace");
    let moments = learn_start(&trace, |arguments| {
        launch(&mut site.node, arguments);
        let ready = soon(|| site.node.status().is_ok_and(|status| status.ready));
        let settled = soon(|| scene.deleted.links().is_empty());
        assert!(ready && settled, "{:?}", site.node.ended());
    });
    drop(site);
    let cases = sample(moments, 3).into_iter();
    let cases = cases
        .map(|moment| (format!("{moment:?}"), moment))
        .collect();
    sweep("killed at start", cases, killed_at_start);
}

#[test]
fn the_disk_fails_at_every_write() {
    const TEST: &str = "the_disk_fails_at_every_write";
    if !privileged(TEST) || !installed(TEST) {
        return;
    }
    let mut cases = Vec::new();
    for operation in [Operation::Add, Operation::Del, Operation::Gc] {
        let moments = operation.moments().into_iter().filter(|moment| {
            moment.thread == Thread::Control && moment.line.contains("attachments.journal")
        });
        for moment in moments {
            for error in ["EIO", "ENOSPC", "EINTR"] {
                let name = format!("{error} at {operation:?} {moment:?}");
                cases.push((name, (operation, moment.clone(), error)));
            }
        }
    }
    sweep("failing disk", cases, |site, (operation, moment, error)| {
        failed(site, *operation, moment, error)
    });
}

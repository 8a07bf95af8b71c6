//! A change under load: nothing is let through after the command that denies it has returned, and
//! nothing else is lost. `WEFT_FLIPS` says how often (1000).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use weft_policy::{Moment, Span};
use weft_switch::runtime::Clock;
use weft_sys::netlink::link;

use super::busy::{Busy, denied, say, socket, times};
use super::policies::{pod_yaml, policy_yaml};
use super::rig::{Node, Space, eventually, privileged};

/// Datagrams per second of the flow that is judged.
const JUDGED: u64 = 10_000;
/// Datagrams per second of the flow that nothing may happen to.
const FREE: u64 = 5_000;
/// Datagrams per second of both that even a busy machine must carry, for a flip is to meet some.
const FLOOR: u64 = 5_000;
/// Sent back to back.
const BURST: u64 = 5;
/// So many that are overdue are sent at once; what a halted sender missed beyond is never sent.
const OVERDUE: u64 = 100;
/// How many datagrams wait in front of a daemon that is not given the processor.
const QUEUE: u32 = 20_000;
/// How long a paced sender rests when nothing is due.
const REST: Duration = Duration::from_micros(200);

/// When each datagram of a flow was sent and received, by its number.
type Seen = BTreeMap<u64, (Moment, Moment)>;

/// Numbered and dated datagrams from one pod to another.
struct Flow {
    sent: Arc<AtomicU64>,
    sender: Busy,
    done: Arc<AtomicBool>,
    receiver: JoinHandle<Seen>,
}

impl Flow {
    fn start(from: &Space, to: &Space, at: &str, rate: u64, clock: Clock) -> Self {
        deepen(from);
        let done = Arc::new(AtomicBool::new(false));
        let receiver = receiving(to, at, clock, Arc::clone(&done));
        let sent = Arc::new(AtomicU64::new(0));
        let sender = sending(from, at.parse().unwrap(), rate, clock, Arc::clone(&sent));
        let flow = Self {
            sent,
            sender,
            done,
            receiver,
        };
        flow.send_more(100);
        flow
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    /// Waits until so many more were sent.
    fn send_more(&self, count: u64) {
        let target = self.sent() + count;
        eventually("the flow goes on", || {
            while self.sent() < target {
                std::thread::park_timeout(REST);
            }
            Some(())
        });
    }

    /// How many were sent, and what arrived.
    fn end(self) -> (u64, Seen) {
        drop(self.sender);
        self.done.store(true, Ordering::Release);
        let seen = self.receiver.join().unwrap();
        (self.sent.load(Ordering::Acquire), seen)
    }
}

/// What the test means to be refused or to arrive must not be lost before weft sees it.
fn deepen(space: &Space) {
    let mut netlink = space.netlink();
    let index = link::index_of(&mut netlink, "eth0").unwrap();
    let change = link::Change {
        tx_queue_len: Some(QUEUE),
        ..link::Change::default()
    };
    link::change(&mut netlink, index, &change).unwrap();
}

/// Sends so many per second, or as many as it can.
fn sending(from: &Space, to: SocketAddr, rate: u64, clock: Clock, sent: Arc<AtomicU64>) -> Busy {
    let (mut number, mut missed, begin) = (0_u64, 0, clock.now());
    Busy::new(socket(from, "0.0.0.0:0"), move |socket| {
        let due = clock.now().since(begin).as_nanos() * rate / 1_000_000_000 - missed;
        if number + BURST > due {
            std::thread::park_timeout(REST);
            return;
        }
        missed += (due - number).saturating_sub(OVERDUE);
        for _ in 0..BURST {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            let now = clock.now().since(Moment::ZERO).as_nanos();
            bytes[8..].copy_from_slice(&now.to_le_bytes());
            socket.send_to(&bytes, to).unwrap();
            number += 1;
            sent.store(number, Ordering::Release);
        }
    })
}

/// Receives until nothing more is sent and a second was silent.
fn receiving(space: &Space, at: &str, clock: Clock, done: Arc<AtomicBool>) -> JoinHandle<Seen> {
    let socket = socket(space, at);
    let larger = socket2::SockRef::from(&socket).set_recv_buffer_size(8 << 20);
    larger.unwrap();
    let second = Duration::from_secs(1);
    socket.set_read_timeout(Some(second)).unwrap();
    std::thread::spawn(move || {
        let mut seen = Seen::new();
        let mut bytes = [0; 16];
        loop {
            let ended = done.load(Ordering::Acquire);
            match socket.recv(&mut bytes) {
                Ok(_) => {}
                Err(_) if ended => return seen,
                Err(_) => continue,
            }
            let now = clock.now();
            let [number, sent] =
                [&bytes[..8], &bytes[8..]].map(|half| u64::from_le_bytes(half.try_into().unwrap()));
            let before = seen.insert(number, (Moment::from_nanos(sent), now));
            assert!(before.is_none(), "{number} came twice");
        }
    })
}

/// When a denial was in force, and how long it took from the first word to that.
struct Denial {
    from: Moment,
    until: Moment,
    took: Span,
}

/// Denies the flow while some of it is sent, and allows it again.
fn flip(node: &Node, flow: &Flow, deny: &str, clock: Clock) -> Denial {
    let mut client = node.client();
    let asked = clock.now();
    node.manifest("deny.yaml", deny);
    client.sync().unwrap();
    let from = clock.now();
    flow.send_more(2 * BURST);
    let until = clock.now();
    std::fs::remove_file(node.path("cluster.d/deny.yaml")).unwrap();
    client.sync().unwrap();
    flow.send_more(2 * BURST);
    Denial {
        from,
        until,
        took: from.since(asked),
    }
}

/// Datagrams that were sent and received while they were denied.
fn leaked(seen: &Seen, denials: &[Denial]) -> usize {
    let inside = |at: Moment| {
        let mut denials = denials.iter();
        denials.position(|denial| denial.from < at && at < denial.until)
    };
    let leaks = seen.values().filter(|(sent, received)| {
        let sent = inside(*sent);
        sent.is_some() && sent == inside(*received)
    });
    leaks.count()
}

#[test]
fn nothing_passes_after_a_denial_and_nothing_else_is_lost() {
    if !privileged("nothing_passes_after_a_denial_and_nothing_else_is_lost") {
        return;
    }
    let flips = times("WEFT_FLIPS", 1000);
    let mut node = Node::new();
    let pods = ["a", "b", "c", "d"].map(|name| pod_yaml("default", name));
    node.manifest("pods.yaml", &pods.concat());
    node.start(&[]);
    let space = |name: &str, ip: &str| node.pod(name, &[ip]).space;
    let (a, b) = (space("a", "10.244.1.2"), space("b", "10.244.1.3"));
    let (c, d) = (space("c", "10.244.1.4"), space("d", "10.244.1.5"));
    let clock = Clock::start();
    let judged = Flow::start(&a, &b, "10.244.1.3:7000", JUDGED, clock);
    let free = Flow::start(&c, &d, "10.244.1.5:7000", FREE, clock);
    let deny = "{podSelector: {matchLabels: {app: b}}, policyTypes: [Ingress]}";
    let deny = policy_yaml("default", "deny", deny);
    let flip = |_| flip(&node, &judged, &deny, clock);
    let begun = (clock.now(), [judged.sent(), free.sent()]);
    let denials: Vec<Denial> = (0..flips).map(flip).collect();
    let nanos = clock.now().since(begun.0).as_nanos();
    let per_second = |(now, then): (u64, u64)| (now - then) * 1_000_000_000 / nanos;
    let rate = per_second((judged.sent(), begun.1[0]));
    let free_rate = per_second((free.sent(), begun.1[1]));
    let ((sent, seen), (free_sent, free_seen)) = (judged.end(), free.end());
    let leaked = leaked(&seen, &denials);
    let refused = denied(&node.client().drops(false).unwrap(), "default/b", "ingress");
    let mut took: Vec<u64> = denials.iter().map(|d| d.took.as_nanos() / 1000).collect();
    took.sort_unstable();
    say(&format!(
        "live change: {flips} denials and as many allowances in {} ms under {rate} datagrams/s \
         of the judged flow and {free_rate} of an unaffected one; judged flow: {sent} sent, \
          {refused} refused, {} arrived, {leaked} let through after a denial; unaffected flow: \
         {free_sent} sent, {} arrived; from writing the file to the denial in force: median {} us, \
         longest {} us; longest publication {:.1} ms",
        nanos / 1_000_000,
        seen.len(),
        free_seen.len(),
        took[took.len() / 2],
        took[took.len() - 1],
        node.status().unwrap().publications.max_seconds * 1000.0,
    ));
    assert_eq!(leaked, 0);
    let load = rate + free_rate;
    assert!(load > FLOOR, "only {load} datagrams/s while flipping");
    assert_eq!(
        free_seen.len() as u64,
        free_sent,
        "lost of the unaffected flow"
    );
    assert!(refused >= u64::from(flips));
    assert_eq!(
        refused + seen.len() as u64,
        sent,
        "each datagram was refused or arrived"
    );
}

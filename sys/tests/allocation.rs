//! Does moving frames and datagrams allocate? It must not: not one byte after set-up, not even for
//! a datagram that fails.

#![cfg(test)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use weft_sys::udp::{self, Buffers, RecvBatch, SendBatch, Target};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: both methods hand their arguments to the system's allocator unchanged, whose contract is
// the same as theirs; counting neither allocates nor unwinds (the cell needs no destructor).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps alloc's contract, a layout of non-zero size.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps dealloc's contract, and `alloc` above took it from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn batches_allocate_nothing_after_set_up() {
    let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let rx = udp::bind_rx(SocketAddr::new(host, 0), true, Buffers::default()).unwrap();
    rx.set_nonblocking(false).unwrap();
    let tx = udp::bind_tx(host, Buffers::default()).unwrap();
    let to = rx.local_addr().unwrap();
    let (mut send, mut recv) = (SendBatch::new(32, 32), RecvBatch::new(32));
    let payloads: Vec<Vec<u8>> = (0..32)
        .map(|n| vec![0; if n == 7 { 70_000 } else { 100 }])
        .collect();
    let mut buffers = vec![vec![0; 2048]; 32];

    let before = ALLOCATIONS.get();
    let mut failed = 0;
    let mut filling = send.fill();
    let target = Target {
        to,
        tos: 1,
        segment: None,
    };
    for payload in &payloads {
        assert!(filling.begin(target) && filling.part(payload));
    }
    let sent = filling.send(&tx, |_, _| failed += 1);
    let mut received = 0;
    while received < sent {
        received += recv
            .recv(&rx, buffers.iter_mut().map(Vec::as_mut_slice))
            .unwrap();
        assert!(recv.received().all(|got| got.len == 100 && got.tos == 1));
    }
    let after = ALLOCATIONS.get();
    assert_eq!((sent, failed, received), (31, 1, 31));
    assert_eq!(after - before, 0);
}

//! `weft-bench traffic`: what sends and receives in the pods of a race?
//!
//! Owns the arguments. Each is a program of its own in a pod's namespace, with real kernel sockets;
//! it prints one JSON object, a sink first another one when it is ready, and ends when its time is
//! over or, a sink, when its input ends.

mod client;
mod flows;
mod frames;
mod histogram;
mod sink;

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::Serialize;

/// `weft-bench traffic`
#[derive(Debug, Args)]
pub(crate) struct TrafficCommand {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Receive, answer where the client waits for it, and count
    Sink {
        /// Address and port
        #[arg(long)]
        listen: SocketAddr,
        /// What comes
        #[arg(long, value_enum)]
        kind: sink::Kind,
        /// Count only what comes within so many seconds of the first byte
        #[arg(long, value_parser = duration)]
        seconds: Option<Duration>,
        /// Of frames, take only those with this mark; others are of an earlier run
        #[arg(long, default_value_t = 0)]
        mark: u32,
    },
    /// Send TCP streams as fast as they are taken
    Stream {
        #[command(flatten)]
        to: To,
        /// Streams at once
        #[arg(long, default_value_t = 1)]
        streams: u16,
    },
    /// Send UDP whose segmentation is left to the kernel
    Gso {
        #[command(flatten)]
        to: To,
        /// Bytes of a datagram's payload
        #[arg(long, default_value_t = 1200, value_parser = clap::value_parser!(u16).range(1..=1400))]
        size: u16,
    },
    /// Send frames, each alone, from the pod's interface
    Frames {
        #[command(flatten)]
        to: To,
        #[command(flatten)]
        shape: frames::Shape,
    },
    /// Send one byte to and fro over TCP
    Rr {
        #[command(flatten)]
        to: To,
    },
    /// Ask for echoes of datagrams at fixed moments
    OpenLoop {
        #[command(flatten)]
        to: To,
        /// Questions a second; without it as fast as 64 at once come back
        #[arg(long)]
        rate: Option<u64>,
    },
    /// Open TCP connections, send a byte each way, close them
    Churn {
        #[command(flatten)]
        to: To,
    },
    /// Send pseudo-random bytes over TCP each way and compare sums
    Hash {
        #[command(flatten)]
        to: To,
        /// Bytes each way
        #[arg(long)]
        bytes: u64,
    },
}

/// Where to, and for how long.
#[derive(Clone, Copy, Debug, Args)]
struct To {
    /// The sink's address and port
    #[arg(long)]
    to: SocketAddr,
    /// Time to send, in seconds
    #[arg(long, default_value = "2", value_parser = duration)]
    seconds: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

impl TrafficCommand {
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self.role {
            Role::Sink {
                listen,
                kind,
                seconds,
                mark,
            } => tell(&sink::run(listen, kind, seconds, mark)?)?,
            Role::Stream { to, streams } => tell(&client::stream(to, streams)?)?,
            Role::Gso { to, size } => tell(&client::gso(to, size)?)?,
            Role::Frames { to, shape } => tell(&frames::run(to, &shape)?)?,
            Role::Rr { to } => tell(&client::ping_pong(to)?)?,
            Role::OpenLoop { to, rate } => tell(&client::open_loop(to, rate)?)?,
            Role::Churn { to } => tell(&client::churn(to)?)?,
            Role::Hash { to, bytes } => tell(&client::hash(to, bytes)?)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// One line of JSON.
fn tell<T: Serialize>(said: &T) -> Result<()> {
    let line = serde_json::to_string(said)? + "\n";
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(line.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Pseudo-random bytes that begin the same for the same seed.
fn scramble(state: &mut u64, bytes: &mut [u8]) {
    for word in bytes.chunks_mut(8) {
        // xorshift64
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        let random = state.to_le_bytes();
        word.iter_mut()
            .zip(random)
            .for_each(|(byte, next)| *byte = next);
    }
}

//! Programs that attach by path: the socket and the token in the data directory, and what bounds who comes.
//!
//! ```text
//! connect → waits for the token (16 at most, 2 s; the oldest makes room) → attaches (8 at most, 10 s) → reads
//! ```
//!
//! Whoever can read the token may read everything and change nothing. The node cannot end such a program, so it holds
//! nothing of the node but its descriptors: no lease page, copies only.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use blvm_bus::request::{
    FrameHead, Refusal, Reply, Request, SOCKET_NAME, TOKEN_NAME, Token, close_elsewhere, decode, listen_path,
    refuse_descriptors,
};
use parking_lot::Mutex;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::codec::{FrameReader, Incoming};
use super::conversation::Conversation;
use super::host::Shared;
use super::party::PathPeer;
use super::reply::ReplyWriter;
use crate::private_file;

/// Programs attached at once.
const MAX_PEERS: u32 = 8;

/// Connections that have not shown the token yet. One more takes the place of the oldest, so that who shows it at once
/// comes in however many do not.
const MAX_WAITING: usize = 16;

/// Least time between two connections: a flood of them costs a bounded share of a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(1);

/// Pause after a failed accept: no descriptors, say.
const RETRY: Duration = Duration::from_secs(1);

/// How long a connection may take for each step.
#[derive(Debug, Clone, Copy)]
struct Deadlines {
    /// To show the token.
    token: Duration,
    /// To attach, from the connection on.
    attach: Duration,
    /// To read an answer once the socket is full.
    unread: Duration,
}

const DEADLINES: Deadlines = Deadlines {
    token: Duration::from_secs(2),
    attach: Duration::from_secs(10),
    unread: Duration::from_secs(30),
};

/// How often the token may be shown wrong.
const TOKEN_TRIES: u32 = 3;

/// Longest frame of somebody unknown: a token, or a hello that was sent too early.
const MAX_UNKNOWN_FRAME_BYTES: usize = 1 << 10;

/// Refusals in this time share one line of the log.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Why nobody can attach by path.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be made; --no-attach goes on without", path.display())]
pub struct ListenError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Lets programs attach by path. Dropping it accepts nobody else and removes socket and token; who is connected stays.
#[derive(Debug)]
pub struct PathListener {
    directory: PathBuf,
    accepting: AbortHandle,
}

impl PathListener {
    /// Writes a new token, then listens in `directory`, which the caller holds the lock of. Needs a Tokio runtime.
    pub(super) fn start(directory: &Path, shared: Arc<Shared>) -> Result<Self, ListenError> {
        PathListener::start_with(directory, shared, DEADLINES)
    }

    fn start_with(directory: &Path, shared: Arc<Shared>, deadlines: Deadlines) -> Result<Self, ListenError> {
        let at = |name: &str| {
            let path = directory.join(name);
            move |source| ListenError { path, source }
        };
        let token = Token::random().map_err(at(TOKEN_NAME))?;
        private_file::replace(&directory.join(TOKEN_NAME), &format!("{}\n", token.to_hex()))
            .map_err(at(TOKEN_NAME))?;
        let (listener, is_closed_here) = listen(directory).map_err(at(SOCKET_NAME))?;
        let door = Arc::new(Door {
            token,
            shared,
            deadlines,
            room: Arc::new(Semaphore::new(MAX_PEERS as usize)),
            waiting: Mutex::new(Waiting::default()),
            refused: Mutex::new(Refused::default()),
            is_closed_here,
        });
        let accepting = tokio::spawn(accept(listener, door)).abort_handle();
        Ok(PathListener { directory: directory.to_owned(), accepting })
    }
}

impl Drop for PathListener {
    fn drop(&mut self) {
        for name in [SOCKET_NAME, TOKEN_NAME] {
            // What stays is replaced by the next run.
            let _ = fs::remove_file(self.directory.join(name));
        }
        self.accepting.abort();
    }
}

/// The socket, and whether the kernel keeps descriptors out of its connections.
fn listen(directory: &Path) -> io::Result<(UnixListener, bool)> {
    let listener = listen_path(directory)?;
    // Connections inherit it, from before their other end can send.
    let is_closed_here = refuse_descriptors(&listener)?;
    listener.set_nonblocking(true)?;
    Ok((UnixListener::from_std(listener)?, is_closed_here))
}

async fn accept(listener: UnixListener, door: Arc<Door>) {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                let ticket = door.waiting.lock().enter();
                tokio::spawn(Arc::clone(&door).attend(socket, ticket));
                sleep(ACCEPT_PAUSE).await;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a program that attaches by path");
                sleep(RETRY).await;
            }
        }
    }
}

/// What every connection is measured by.
struct Door {
    token: Token,
    shared: Arc<Shared>,
    deadlines: Deadlines,
    /// One permit for each program that may still attach.
    room: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
    refused: Mutex<Refused>,
    /// Whether a connection can be closed where it is: no descriptors can be in it.
    is_closed_here: bool,
}

/// Connections that have not shown the token, the oldest first.
#[derive(Default)]
struct Waiting {
    last_number: u64,
    tickets: VecDeque<Ticket>,
}

#[derive(Clone)]
struct Ticket {
    number: u64,
    evicted: Arc<Notify>,
}

impl Waiting {
    fn enter(&mut self) -> Ticket {
        self.last_number += 1;
        let ticket = Ticket { number: self.last_number, evicted: Arc::new(Notify::new()) };
        if self.tickets.len() == MAX_WAITING
            && let Some(oldest) = self.tickets.pop_front()
        {
            oldest.evicted.notify_one();
        }
        self.tickets.push_back(ticket.clone());
        ticket
    }

    fn leave(&mut self, ticket: &Ticket) {
        self.tickets.retain(|other| other.number != ticket.number);
    }
}

#[derive(Default)]
struct Refused {
    count: u64,
    said: Option<Instant>,
}

impl Door {
    async fn attend(self: Arc<Self>, socket: UnixStream, ticket: Ticket) {
        let start = Instant::now();
        let socket = Arc::new(socket);
        let name = match socket.peer_cred().ok().and_then(|credentials| credentials.pid()) {
            Some(pid) => format!("peer {} (pid {pid})", ticket.number),
            None => format!("peer {}", ticket.number),
        };
        let mut reader = FrameReader::new(MAX_UNKNOWN_FRAME_BYTES);
        let mut writer =
            ReplyWriter::new(Arc::clone(&socket), Some(self.deadlines.unread), &self.shared.limits);
        let known = tokio::select! {
            biased;
            known = timeout_at(start + self.deadlines.token, self.identify(&socket, &mut reader, &mut writer, &name)) => {
                known.unwrap_or_else(|passed| Err(passed.into()))
            }
            () = ticket.evicted.notified() => Ok(None),
        };
        self.waiting.lock().leave(&ticket);
        match known {
            Ok(Some(place)) => {
                tracing::info!(module = name, "a program attaches by path");
                reader.set_limit(self.shared.limits.frame_bytes);
                let peer = Arc::new(PathPeer::new(name.clone(), Arc::clone(&self.shared)));
                let shared = Arc::clone(&self.shared);
                let attach_by = Some(start + self.deadlines.attach);
                let held = Arc::clone(writer.held());
                let outcome = Conversation::new(writer, peer, shared, attach_by).go_on(&socket, reader).await;
                let error = outcome.err().map(|error| error.to_string());
                tracing::info!(module = name, error, "a program that attached by path has left");
                // Coming back would be a way to hold more than it may: its place is free once it has given back all.
                tokio::spawn(async move {
                    held.released().await;
                    drop(place);
                });
            }
            // Reported by who refused it.
            Ok(None) => drop(writer),
            Err(error) => {
                tracing::debug!(module = name, %error, "a program did not attach by path");
                drop(writer);
            }
        }
        if !self.is_closed_here {
            close_elsewhere(socket);
        }
    }

    /// A place once the other side has shown the token, or `None` if it is not to have one. Bounded in time by the caller.
    async fn identify(
        &self,
        socket: &UnixStream,
        reader: &mut FrameReader,
        writer: &mut ReplyWriter,
        name: &str,
    ) -> io::Result<Option<OwnedSemaphorePermit>> {
        for tries_left in (0..TOKEN_TRIES).rev() {
            let Some(incoming) = reader.next(socket, name).await? else { return Ok(None) };
            let (head, refusal) = match incoming {
                Incoming::TooLarge(head) => (head, too_large(head)),
                Incoming::Frame { head, body } if self.is_token(&body) => {
                    let limit = MAX_PEERS;
                    match Arc::clone(&self.room).try_acquire_owned() {
                        Ok(place) => {
                            writer.send(head.correlation, &Reply::Authenticated, &[]).await?;
                            return Ok(Some(place));
                        }
                        Err(_) => {
                            tracing::warn!(
                                module = name,
                                limit,
                                "as many programs are attached by path as may"
                            );
                            let refusal = Reply::Refused(Refusal::TooManyPeers { limit });
                            writer.send(head.correlation, &refusal, &[]).await?;
                            return Ok(None);
                        }
                    }
                }
                Incoming::Frame { head, .. } => (head, Refusal::Token { tries_left }),
            };
            self.count_refusal(name);
            writer.send(head.correlation, &Reply::Refused(refusal), &[]).await?;
        }
        Ok(None)
    }

    fn is_token(&self, body: &[u8]) -> bool {
        matches!(decode(body), Ok(Request::Authenticate { token }) if token == self.token)
    }

    /// Refusals are said, however many: a flood of them is one line in ten seconds.
    fn count_refusal(&self, name: &str) {
        let mut refused = self.refused.lock();
        refused.count += 1;
        if refused.said.is_none_or(|said| said.elapsed() >= LOG_INTERVAL) {
            tracing::warn!(
                module = name,
                refusals = refused.count,
                "without this run's token nobody attaches by path"
            );
            *refused = Refused { count: 0, said: Some(Instant::now()) };
        }
    }
}

fn too_large(head: FrameHead) -> Refusal {
    Refusal::TooLarge { found_bytes: u64::from(head.body_bytes), limit_bytes: MAX_UNKNOWN_FRAME_BYTES as u64 }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

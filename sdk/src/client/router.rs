//! One thread reads the request socket, others ask: each gets its own answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use blvm_bus::request::{ModuleHealth, Request, encode};

use super::{Answer, CallError, Client};
use crate::calls::ReceivedCall;
use crate::wire::Wire;

/// Where the threads that ask wait for their answers.
#[derive(Debug)]
pub(crate) struct Router {
    wire: Arc<Wire>,
    last_correlation: AtomicU64,
    /// By correlation; `None` once nobody reads the socket any more.
    waiting: Mutex<Option<HashMap<u64, SyncSender<Answer>>>>,
}

impl Router {
    /// A client for another thread: as many may ask at once as like to. The node serves them one after another.
    pub(crate) fn client(self: &Arc<Self>) -> Client {
        let mut client = Client::over(Arc::clone(&self.wire));
        client.router = Some(Arc::clone(self));
        client
    }

    pub(super) fn call(&self, request: &Request, deadline_ms: u32) -> Result<Answer, CallError> {
        // Relaxed: only that no number is used twice is meant.
        let correlation = self.last_correlation.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, answer) = sync_channel(1);
        self.waiting().as_mut().ok_or(CallError::Closed)?.insert(correlation, sender);
        if let Err(error) = self.wire.send_request(correlation, deadline_ms, &encode(request)) {
            if let Some(waiting) = self.waiting().as_mut() {
                waiting.remove(&correlation);
            }
            return Err(error.into());
        }
        answer.recv().map_err(|_| CallError::Closed)
    }

    /// Ends the connection: the receiver returns, and whoever waits for an answer learns that none comes.
    pub(crate) fn hang_up(&self) {
        // The node may have been first.
        let _ = self.wire.socket.shutdown(std::net::Shutdown::Both);
    }

    fn waiting(&self) -> MutexGuard<'_, Option<HashMap<u64, SyncSender<Answer>>>> {
        // Nothing panics while it is held.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the request socket for all.
#[derive(Debug)]
pub(crate) struct Receiver {
    client: Client,
    router: Arc<Router>,
}

/// What the receiver hands out.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// To be answered.
    Call(ReceivedCall),
    /// The node has asked the module to end; told once.
    Stop,
}

impl Receiver {
    /// Takes over the socket of `client`, and the calls it has not handed out.
    pub(crate) fn new(client: Client) -> Self {
        let router = Router {
            wire: Arc::clone(&client.wire),
            last_correlation: AtomicU64::new(client.last_correlation),
            waiting: Mutex::new(Some(HashMap::new())),
        };
        Receiver { client, router: Arc::new(router) }
    }

    /// Where others ask.
    pub(crate) fn router(&self) -> Arc<Router> {
        Arc::clone(&self.router)
    }

    /// Reads until the connection ends. `health` says how the module does, whenever the node asks.
    pub(crate) fn run(
        mut self,
        health: impl Fn() -> ModuleHealth,
        mut incoming: impl FnMut(Incoming),
    ) -> CallError {
        let end = self.receive_all(&health, &mut incoming).err().unwrap_or(CallError::Closed);
        // Dropping the senders tells who waits.
        self.router.waiting().take();
        end
    }

    fn receive_all(
        &mut self,
        health: &impl Fn() -> ModuleHealth,
        incoming: &mut impl FnMut(Incoming),
    ) -> Result<(), CallError> {
        let mut was_stopping = false;
        loop {
            while let Some((head, answer)) = self.client.take_frame()? {
                // An answer nobody waits for belongs to a request that could not be sent whole.
                let waiting = self.router.waiting().as_mut().and_then(|all| all.remove(&head.correlation));
                if let Some(sender) = waiting {
                    // Whoever asked waits; the channel has room for the one answer.
                    let _ = sender.send(answer);
                }
            }
            let calls = &mut self.client.calls;
            if calls.is_health_asked() {
                calls.set_health(health());
                calls.answer_health()?;
            }
            if calls.is_stopping() && !was_stopping {
                was_stopping = true;
                incoming(Incoming::Stop);
            }
            while let Some(call) = self.client.calls.next() {
                incoming(Incoming::Call(call));
            }
            self.client.receive(true)?;
        }
    }
}

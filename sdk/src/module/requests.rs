//! Requests from handlers.

use std::sync::Arc;

use blvm_bus::request::{HealthState, ModuleHealth};

use super::health::Troubles;
use crate::client::{Client, Router};

/// Asks the node, from any thread and from several at once; cheap to clone.
///
/// The node serves the requests of a module one after another, but for those that wait by their nature
/// ([`Client::call_module`], [`Client::watch_next`]). Without an answer it does not return: a handler that asks is held up.
#[derive(Debug, Clone)]
pub struct Requests {
    router: Arc<Router>,
    troubles: Arc<Troubles>,
}

impl Requests {
    pub(crate) fn new(router: Arc<Router>, troubles: Arc<Troubles>) -> Self {
        Requests { router, troubles }
    }

    /// A client to ask with: `requests.client().chain_tip()`.
    pub fn client(&self) -> Client {
        self.router.client()
    }

    /// What the node is told when it asks how this module does, as long as no handler fails.
    pub fn set_health(&self, state: HealthState, message: impl Into<String>) {
        self.troubles.set_own(ModuleHealth { state, message: message.into() });
    }
}

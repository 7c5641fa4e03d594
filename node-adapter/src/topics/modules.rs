//! What modules publish: on `payments` what is about payments, on `modules` everything else.

use blvm_bus::message::TOPICS;
use blvm_bus::message::modules::ModuleEvent;
use blvm_bus::message::payments::{self, PaymentEvent};
use blvm_bus::publisher::PublishError;

use super::Topics;

/// Whether events of this name belong to topic `payments`.
pub(crate) fn is_payment(name: &str) -> bool {
    payments::NAMES.contains(&name)
}

/// Whether the node itself has events of this name: a module's would be mistaken for them.
pub(crate) fn is_of_the_node(name: &str) -> bool {
    TOPICS.iter().any(|topic| topic.kinds.iter().any(|(_, kind)| *kind == name))
}

impl Topics {
    /// Publishes an event of module `publisher`; answers its sequence.
    pub(crate) fn publish_of_module(
        &self,
        publisher: &str,
        name: String,
        payload: Vec<u8>,
    ) -> Result<u64, PublishError> {
        let publisher = publisher.to_owned();
        if is_payment(&name) {
            self.hosts.payments.publisher.lock().publish(&PaymentEvent { publisher, name, payload })
        } else {
            self.hosts.modules.publisher.lock().publish(&ModuleEvent { publisher, name, payload })
        }
    }
}

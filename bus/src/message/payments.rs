//! Topic `payments`: what modules publish about payments through the node. Apart from `modules`, because other
//! modules may read it; the bounds on its texts and payloads are those of `modules`.

use super::BodyAccess;
use crate::layout::Geometry;

topic! {
    /// Events about payments and channels.
    Payments = 9 "payments", PaymentsEvent,
    Geometry { depth: 16_384, slot_bytes: 512, terms: 0, term_bytes: 0 }, BodyAccess::None, "";

    /// A module published an event about a payment or a channel.
    1 PaymentEvent / ArchivedPaymentEvent {
        /// Name of the module, from the manifest the node verified and not from the module; at most 64 bytes.
        publisher: String,
        /// Name of the event, one of `NAMES`: PaymentRequestCreated, PaymentSettled, PaymentFailed, PaymentVerified,
        /// PaymentRouteFound, PaymentRouteFailed, ChannelOpened, ChannelClosed.
        name: String,
        /// What the module says of it, in a form of its own; at most 320 bytes.
        payload: Vec<u8>,
    }
}

/// The events that belong to this topic and to no other.
pub const NAMES: [&str; 8] = [
    "PaymentRequestCreated",
    "PaymentSettled",
    "PaymentFailed",
    "PaymentVerified",
    "PaymentRouteFound",
    "PaymentRouteFailed",
    "ChannelOpened",
    "ChannelClosed",
];

//! Topic `modules`: what modules publish through the node.

use super::BodyAccess;
use crate::layout::Geometry;

topic! {
    /// Events of modules, except those about payments.
    Modules = 8 "modules", ModulesEvent,
    Geometry { depth: 16_384, slot_bytes: 512, terms: 0, term_bytes: 0 }, BodyAccess::None, "";

    /// A module published an event.
    1 ModuleEvent / ArchivedModuleEvent {
        /// Name of the module, from the manifest the node verified and not from the module; at most 64 bytes.
        publisher: String,
        /// Name of the event; at most 64 bytes.
        name: String,
        /// What the module says of it, in a form of its own; at most 320 bytes.
        payload: Vec<u8>,
    }
}

/// Longest name of a module.
pub const MAX_PUBLISHER_BYTES: usize = 64;

/// Longest name of a module's event.
pub const MAX_EVENT_NAME_BYTES: usize = 64;

/// Longest payload of a module's event: it fits a slot together with the longest names.
pub const MAX_EVENT_PAYLOAD_BYTES: usize = 320;

//! Room for calls: how many may wait for one module, and on whose behalf. The node keeps to it where it sends, the SDK where
//! it receives, so that no module's calls keep those of the operator, of the node or of another module out.
//!
//! | asked by | calls that may wait for one module |
//! |---|---|
//! | the node: that it end, how it does | 8 |
//! | the operator: methods of JSON-RPC, commands | 32 |
//! | other modules | 8 of each; 32 of all together, but one of each whatever the others do |

use super::Call;

/// Calls of the node itself.
pub const MAX_CALLS_OF_NODE: u32 = 8;

/// Calls of the operator.
pub const MAX_CALLS_OF_OPERATOR: u32 = 32;

/// Calls of other modules together.
pub const MAX_CALLS_OF_MODULES: u32 = 32;

/// Calls of one other module.
pub const MAX_CALLS_OF_CALLER: u32 = 8;

/// On whose behalf a module is called; in this order calls are sent and handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallRoom {
    /// The node's.
    Node,
    /// The operator's.
    Operator,
    /// Other modules'.
    Modules,
}

impl CallRoom {
    /// Who asks, in messages.
    pub const fn asker(self) -> &'static str {
        match self {
            CallRoom::Node => "the node",
            CallRoom::Operator => "the operator",
            CallRoom::Modules => "other modules",
        }
    }

    /// How many calls it holds.
    const fn limit(self) -> u32 {
        match self {
            CallRoom::Node => MAX_CALLS_OF_NODE,
            CallRoom::Operator => MAX_CALLS_OF_OPERATOR,
            CallRoom::Modules => MAX_CALLS_OF_MODULES,
        }
    }
}

/// Who asks: the room, and in that of modules which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallOrigin<'a> {
    /// The room its calls take.
    pub room: CallRoom,
    /// Name of the module that calls, else empty.
    pub caller: &'a str,
}

/// Why one more call may not wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoom {
    /// The caller has as many as one may.
    OfCaller {
        /// How many.
        limit: u32,
    },
    /// The room is full.
    Of {
        /// Which.
        room: CallRoom,
        /// How many it holds.
        limit: u32,
    },
}

impl CallOrigin<'_> {
    /// Whether a call from here may wait beside those from `waiting`.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] says what is full.
    pub fn find_room<'a>(self, waiting: impl Iterator<Item = CallOrigin<'a>>) -> Result<(), NoRoom> {
        let (mut of_room, mut of_caller) = (0, 0);
        for other in waiting.filter(|other| other.room == self.room) {
            of_room += 1;
            of_caller += u32::from(other.caller == self.caller);
        }
        let is_shared = self.room == CallRoom::Modules;
        if is_shared && of_caller == 0 {
            return Ok(());
        }
        if is_shared && of_caller >= MAX_CALLS_OF_CALLER {
            return Err(NoRoom::OfCaller { limit: MAX_CALLS_OF_CALLER });
        }
        let limit = self.room.limit();
        if of_room >= limit { Err(NoRoom::Of { room: self.room, limit }) } else { Ok(()) }
    }
}

impl Call {
    /// On whose behalf it is made.
    pub fn origin(&self) -> CallOrigin<'_> {
        let (room, caller) = match self {
            Call::Stop { .. } | Call::Health => (CallRoom::Node, ""),
            Call::Command { .. } | Call::Rpc { .. } => (CallRoom::Operator, ""),
            Call::Api { caller, .. } => (CallRoom::Modules, caller.as_str()),
        };
        CallOrigin { room, caller }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPERATOR: CallOrigin<'_> = CallOrigin { room: CallRoom::Operator, caller: "" };
    const NODE: CallOrigin<'_> = CallOrigin { room: CallRoom::Node, caller: "" };

    fn module(caller: &str) -> CallOrigin<'_> {
        CallOrigin { room: CallRoom::Modules, caller }
    }

    /// How many of `origin` fit beside `waiting`, and why no more do.
    fn fill<'a>(waiting: &mut Vec<CallOrigin<'a>>, origin: CallOrigin<'a>) -> (usize, NoRoom) {
        let before = waiting.len();
        loop {
            if let Err(full) = origin.find_room(waiting.iter().copied()) {
                return (waiting.len() - before, full);
            }
            waiting.push(origin);
        }
    }

    #[test]
    fn no_callers_together_keep_another_out_nor_the_operator_nor_the_node() {
        let mut waiting = Vec::new();
        let of_caller = NoRoom::OfCaller { limit: 8 };
        let of_modules = NoRoom::Of { room: CallRoom::Modules, limit: 32 };
        for name in ["a", "b", "c", "d"] {
            assert_eq!(fill(&mut waiting, module(name)), (8, of_caller));
        }
        // All places are taken, and yet each of the others has one.
        assert_eq!(fill(&mut waiting, module("e")), (1, of_modules));
        assert_eq!(fill(&mut waiting, module("f")), (1, of_modules));
        let of_operator = NoRoom::Of { room: CallRoom::Operator, limit: 32 };
        assert_eq!(fill(&mut waiting, OPERATOR), (32, of_operator));
        assert_eq!(fill(&mut waiting, NODE), (8, NoRoom::Of { room: CallRoom::Node, limit: 8 }));
        assert_eq!(module("g").find_room(waiting.iter().copied()), Ok(()));
    }
}

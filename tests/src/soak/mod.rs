//! What the soak test and its modules agree on, and nothing that needs the node: the modules compile it as a part of
//! themselves. Linked through this library, each would be ninety megabytes, copied and hashed at every start.
//!
//! | module | what |
//! |---|---|
//! | [`content`] | what the message of each sequence says, byte by byte |
//! | [`schedule`] | who plays which role when |
//! | [`account`] | what a reader received and missed of a topic |

pub mod account;
pub mod content;
pub mod schedule;

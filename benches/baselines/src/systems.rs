//! The peers, each with what it shows and what it leaves out.

#[allow(unsafe_code)] // Raw shared memory.
pub mod copy_flag;
pub mod iceoryx;
pub mod socket_wake;
#[allow(unsafe_code)] // Raw shared memory.
pub mod tango;
pub mod unix;
pub mod zeromq;

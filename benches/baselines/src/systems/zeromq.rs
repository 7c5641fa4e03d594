//! ZeroMQ over `ipc://` (libzmq 4.3, through crate `zmq`): PUSH and PULL with the default limits, which lose nothing.
//!
//! PUB drops messages when its limit is reached, and crate `zmq` does not offer the option against it. PUSH to one PULL
//! takes the same way through the library without matching subscriptions: if anything, faster. Both sides block, as its
//! users do; its own I/O thread shares the core of its side.

use zmq::{Context, Message, PULL, PUSH, Socket};

use crate::system::{Head, Place, Publish, Subscribe, System, Touch, take};

/// The one who pushes.
pub struct Publisher {
    socket: Socket,
    _context: Context,
}

impl Publish for Publisher {
    fn publish(&mut self, payload: &[u8]) {
        self.socket.send(payload, 0).expect("sent");
    }
}

/// The one who pulls.
pub struct Subscriber {
    message: Message,
    socket: Socket,
    _context: Context,
}

impl Subscribe for Subscriber {
    fn receive(&mut self, touch: Touch) -> Head {
        self.socket.recv(&mut self.message, 0).expect("received");
        take(&self.message, touch)
    }
}

/// The system.
pub enum ZeroMq {}

impl System for ZeroMq {
    const NAME: &'static str = "zeromq";
    const WAIT: &'static str = "block";
    type Publisher = Publisher;
    type Subscriber = Subscriber;

    fn create(place: &Place) -> Publisher {
        let context = Context::new();
        let socket = context.socket(PUSH).expect("a socket");
        socket.bind(&endpoint(place)).expect("bound");
        Publisher { socket, _context: context }
    }

    fn open(place: &Place) -> Subscriber {
        let context = Context::new();
        let socket = context.socket(PULL).expect("a socket");
        socket.connect(&endpoint(place)).expect("connected");
        Subscriber { message: Message::new(), socket, _context: context }
    }
}

fn endpoint(place: &Place) -> String {
    format!("ipc://{}", place.file("zeromq").display())
}

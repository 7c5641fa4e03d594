//! A bare wake: a datagram over a Unix socket, from the call of `send` to the return of the `recv` in which another process
//! sleeps. What waking a process through the kernel costs at least.
//!
//! Datagrams and the SOCK_SEQPACKET of the bus's wake socket take the same way through the kernel (unix_dgram_sendmsg).
//! The message is the head alone, whatever length is asked for.

use std::os::unix::net::UnixDatagram;
use std::thread;

use crate::system::{HEAD_BYTES, Head, Place, Publish, Subscribe, System, Touch};

/// The one who wakes.
pub struct Publisher {
    socket: UnixDatagram,
    place: Place,
}

impl Publish for Publisher {
    fn publish(&mut self, payload: &[u8]) {
        let sent = self.socket.send(&payload[..HEAD_BYTES]).expect("sent");
        assert_eq!(sent, HEAD_BYTES);
    }
}

/// The one who sleeps.
pub struct Subscriber {
    socket: UnixDatagram,
}

impl Subscribe for Subscriber {
    fn receive(&mut self, _touch: Touch) -> Head {
        let mut payload = [0; HEAD_BYTES];
        assert_eq!(self.socket.recv(&mut payload).expect("received"), HEAD_BYTES);
        Head::read(&payload)
    }
}

/// The system.
pub enum SocketWake {}

impl System for SocketWake {
    const NAME: &'static str = "socket-wake";
    const WAIT: &'static str = "block";
    type Publisher = Publisher;
    type Subscriber = Subscriber;

    fn create(place: &Place) -> Publisher {
        Publisher { socket: UnixDatagram::unbound().expect("a socket"), place: place.clone() }
    }

    fn open(place: &Place) -> Subscriber {
        Subscriber { socket: UnixDatagram::bind(place.file("wake")).expect("bound") }
    }

    fn meet(publisher: &mut Publisher) {
        while publisher.socket.connect(publisher.place.file("wake")).is_err() {
            thread::yield_now();
        }
    }
}

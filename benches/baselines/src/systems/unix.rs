//! A Unix socket with length-delimited frames (tokio-util) and bincode 1.3.3: the way this project's predecessor goes.
//!
//! Every message is a struct that serde knows, with its payload as `Vec<u8>`; it is serialised into a new vector, framed,
//! written, read, split from the stream, and deserialised into a new vector. One tokio runtime with one thread on each
//! side; the subscriber sleeps in epoll.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::system::{Head, Place, Publish, Subscribe, System, Touch, take};

/// What goes over the socket.
#[derive(Debug, Serialize, Deserialize)]
struct Message {
    kind: u16,
    payload: Vec<u8>,
}

/// The one who writes frames.
pub struct Publisher {
    listener: UnixListener,
    frames: Option<Framed<UnixStream, LengthDelimitedCodec>>,
    /// Messages handed over in one go, until [`Publish::flush`].
    runtime: Runtime,
}

impl Publish for Publisher {
    fn publish(&mut self, payload: &[u8]) {
        let message = Message { kind: 1, payload: payload.to_vec() };
        let frame = Bytes::from(bincode::serialize(&message).expect("nothing in it can fail"));
        let frames = self.frames.as_mut().expect("a subscriber");
        self.runtime.block_on(frames.feed(frame)).expect("fed");
    }

    fn flush(&mut self) {
        let frames = self.frames.as_mut().expect("a subscriber");
        self.runtime.block_on(SinkExt::<Bytes>::flush(frames)).expect("written");
    }
}

/// The one who reads them.
pub struct Subscriber {
    frames: Framed<UnixStream, LengthDelimitedCodec>,
    runtime: Runtime,
}

impl Subscribe for Subscriber {
    fn receive(&mut self, touch: Touch) -> Head {
        let frame = self.runtime.block_on(self.frames.next()).expect("a publisher").expect("a frame");
        let message: Message = bincode::deserialize(&frame).expect("a message");
        assert_eq!(message.kind, 1);
        take(&message.payload, touch)
    }
}

/// The system.
pub enum Unix {}

impl System for Unix {
    const NAME: &'static str = "unix-bincode";
    const WAIT: &'static str = "block";
    type Publisher = Publisher;
    type Subscriber = Subscriber;

    fn create(place: &Place) -> Publisher {
        let runtime = runtime();
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(place.file("socket")).expect("bound")
        };
        Publisher { listener, frames: None, runtime }
    }

    fn open(place: &Place) -> Subscriber {
        let runtime = runtime();
        let stream = runtime.block_on(UnixStream::connect(place.file("socket"))).expect("connected");
        Subscriber { frames: framed(stream), runtime }
    }

    fn meet(publisher: &mut Publisher) {
        let (stream, _) = publisher.runtime.block_on(publisher.listener.accept()).expect("a subscriber");
        publisher.frames = Some(framed(stream));
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime")
}

fn framed(stream: UnixStream) -> Framed<UnixStream, LengthDelimitedCodec> {
    Framed::new(stream, LengthDelimitedCodec::builder().max_frame_length(64 << 20).new_codec())
}

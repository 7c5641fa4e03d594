//! iceoryx2, publish and subscribe without a copy of its own: loan, write, send; receive.
//!
//! Lossless: no overflow, and a publisher that finds the subscriber's queue full tries again until there is room. That is
//! the setting in which a stuck subscriber stops its publisher; nothing here is stuck.

use std::hint::spin_loop;

use iceoryx2::port::publisher::Publisher as Port;
use iceoryx2::port::subscriber::Subscriber as SubscriberPort;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory as Service;

use crate::system::{Head, Place, Publish, Subscribe, System, Touch, take};

/// Most messages in the queue of a subscriber.
const MOST_QUEUED: usize = 1_024;

/// A node and its service; both live as long as a port of theirs.
struct Joined {
    _node: Node<ipc::Service>,
    service: Service<ipc::Service, [u8], ()>,
}

impl Joined {
    fn new(place: &Place) -> Self {
        set_log_level(LogLevel::Error);
        let node = NodeBuilder::new().signal_handling_mode(SignalHandlingMode::Disabled);
        let node = node.create::<ipc::Service>().expect("a node");
        let name = ServiceName::new(&format!("blvm-baselines/{}", place.unique_name())).expect("a name");
        let service = node
            .service_builder(&name)
            .publish_subscribe::<[u8]>()
            .enable_safe_overflow(false)
            .history_size(0)
            .max_publishers(1)
            .max_subscribers(1)
            .subscriber_max_borrowed_samples(1)
            .subscriber_max_buffer_size(place.messages(MOST_QUEUED))
            .payload_alignment(Alignment::new(64).expect("a power of two"))
            .open_or_create()
            .expect("the service");
        Joined { _node: node, service }
    }
}

/// The one who loans and sends.
pub struct Publisher {
    port: Port<ipc::Service, [u8], ()>,
    joined: Joined,
}

impl Publish for Publisher {
    #[inline]
    fn publish(&mut self, payload: &[u8]) {
        let sample = self.port.loan_slice_uninit(payload.len()).expect("a sample");
        let reached = sample.write_from_slice(payload).send().expect("room in the queue");
        assert_eq!(reached, 1, "subscribers reached");
    }
}

/// The one who receives.
pub struct Subscriber {
    port: SubscriberPort<ipc::Service, [u8], ()>,
    _joined: Joined,
}

impl Subscribe for Subscriber {
    #[inline]
    fn receive(&mut self, touch: Touch) -> Head {
        loop {
            if let Some(sample) = self.port.receive().expect("a connection") {
                return take(sample.payload(), touch);
            }
            spin_loop();
        }
    }
}

/// The system.
pub enum Iceoryx {}

impl System for Iceoryx {
    const NAME: &'static str = "iceoryx2";
    const WAIT: &'static str = "spin";
    type Publisher = Publisher;
    type Subscriber = Subscriber;

    fn create(place: &Place) -> Publisher {
        let joined = Joined::new(place);
        let port = joined
            .service
            .publisher_builder()
            .initial_max_slice_len(place.bytes)
            .max_loaned_samples(1)
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create()
            .expect("a publisher");
        Publisher { port, joined }
    }

    fn open(place: &Place) -> Subscriber {
        let joined = Joined::new(place);
        let port = joined.service.subscriber_builder().create().expect("a subscriber");
        Subscriber { port, _joined: joined }
    }

    fn meet(publisher: &mut Publisher) {
        while publisher.joined.service.dynamic_config().number_of_subscribers() == 0 {
            std::thread::yield_now();
        }
    }
}

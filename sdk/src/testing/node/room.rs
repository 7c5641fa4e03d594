//! That nothing is missed by accident: publishing waits for who would be overrun.

use super::{IS_ANSWERING, Inner};
use crate::testing::bus::needed_cursor;

impl Inner {
    /// Waits until one message more of `topic`, with a body of so many bytes, makes no module miss anything: of those that the
    /// test runs and does not hold.
    pub(crate) fn make_room(&self, topic: u32, body_bytes: usize) {
        if IS_ANSWERING.get() {
            return;
        }
        for party in self.parties() {
            let Some(probe) = party.probe.get().filter(|_| !party.is_gone()) else { continue };
            let Some(reading) = probe.readings().into_iter().find(|reading| reading.topic == topic) else {
                continue;
            };
            let needed = {
                let mut world = self.world();
                let Some(geometry) = world.bus().geometry(topic) else { continue };
                let Some(host) = world.bus().any_host(topic) else { continue };
                needed_cursor(host, geometry, body_bytes, |kind| reading.wants(kind))
            };
            if probe.wait_read(topic, needed, self.limit).is_err() {
                let name = &party.module.name;
                panic!(
                    "publishing more would have module {name} miss messages, and it did not read on within {:?}; if it is to miss them, hold() it first:{}",
                    self.limit,
                    self.describe(probe)
                );
            }
        }
    }

    /// Where a module is, for people.
    pub(crate) fn describe(&self, probe: &crate::module::probe::Probe) -> String {
        let mut world = self.world();
        probe.describe(|topic| match &mut world.bus {
            Some(bus) => bus.used_host(topic).map_or(1, |host| host.next_sequence()),
            None => 1,
        })
    }
}

//! Looks at the disk that holds the data, and says when it is nearly full.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::statvfs::statvfs;

use super::every;
use crate::source::{EventSink, NodeEvent};

const INTERVAL: Duration = Duration::from_secs(60);

/// Looks at the disk of `path` for ever; with fewer than `threshold_bytes` free it is nearly full.
pub(super) async fn watch(path: PathBuf, threshold_bytes: u64, sink: Arc<dyn EventSink>) {
    let mut alarm = Alarm { threshold_bytes, is_low: false };
    let mut looks = every(INTERVAL);
    loop {
        looks.tick().await;
        match statvfs(&path) {
            Ok(disk) => {
                let free_bytes = disk.blocks_available() * disk.fragment_size();
                if let Some(event) = alarm.look(free_bytes) {
                    tracing::warn!(free_bytes, path = %path.display(), "the disk is nearly full");
                    sink.event(event);
                }
            }
            Err(error) => tracing::warn!(%error, path = %path.display(), "the disk cannot be looked at"),
        }
    }
}

/// Says once that there is too little, and again only after there was enough.
#[derive(Debug)]
struct Alarm {
    threshold_bytes: u64,
    is_low: bool,
}

impl Alarm {
    fn look(&mut self, free_bytes: u64) -> Option<NodeEvent> {
        let was_low = std::mem::replace(&mut self.is_low, free_bytes < self.threshold_bytes);
        let threshold_bytes = self.threshold_bytes;
        (self.is_low && !was_low).then_some(NodeEvent::DiskSpaceLow { free_bytes, threshold_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_said_once_until_there_is_room_again() {
        let threshold_bytes = 1 << 30;
        let mut alarm = Alarm { threshold_bytes, is_low: false };
        let said: Vec<bool> =
            [2, 1, 0, 0, 1, 0, 0].map(|gibibytes: u64| alarm.look(gibibytes << 30).is_some()).into();
        assert_eq!(said, [false, false, true, false, false, true, false]);
        let mut alarm = Alarm { threshold_bytes, is_low: false };
        assert!(matches!(
            alarm.look(5),
            Some(NodeEvent::DiskSpaceLow { free_bytes: 5, threshold_bytes: 0x4000_0000 })
        ));
    }
}

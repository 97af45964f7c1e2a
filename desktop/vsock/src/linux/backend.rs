//! The vhost-user backend: features, configuration space, and events.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::Duration;

use tracing::warn;
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{VhostUserBackend, VringEpollHandler, VringMutex};
use virtio_bindings::bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::bindings::virtio_ring::{
    VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC,
};
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{
    EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier,
};
use vmm_sys_util::eventfd::EventFd;
use vmm_sys_util::timerfd::TimerFd;

use super::queues::Queues;
use crate::table::Table;

/// Receive, transmit and event queue (virtio 1.2, section 5.10.2). QEMU keeps
/// the event queue to itself.
const QUEUES: usize = 3;

/// Largest size a queue may have. QEMU asks for 128.
const MAX_QUEUE_SIZE: usize = 1024;

/// Events of the thread beyond the queues and the exit event, which has the
/// number `QUEUES`.
const CALL_EVENT: u16 = QUEUES as u16 + 1;
const TIMER_EVENT: u16 = QUEUES as u16 + 2;
const COMPLETION_EVENT: u16 = QUEUES as u16 + 3;

/// How long the guest may wait to hear that packets of its own were taken. All it
/// does then is to free them: an interrupt for each would cost it more than the
/// packet did.
const COMPLETION_DELAY: Duration = Duration::from_millis(2);

/// Turns of both queues before the thread looks at its other events.
pub(super) const ROUNDS: u32 = 16;

/// How long after a start of the rings they are looked at without a kick, and
/// how often: a kick may have been taken by QEMU while they stood still.
const SETTLE_INTERVAL: Duration = Duration::from_millis(20);
const SETTLE_TICKS: u32 = 25;

/// What vhost-user calls into.
pub(super) struct Backend {
    guest_cid: u64,
    table: Arc<Table>,
    mem: GuestMemoryAtomic<GuestMemoryMmap>,
    queues: Mutex<Queues>,
    /// The receive and the transmit queue, once the thread has seen them.
    rings: OnceLock<[VringMutex; 2]>,
    call: EventFd,
    settle: Mutex<Settle>,
    completion: Mutex<Completion>,
}

/// The timer that has the guest told of the packets taken from it.
struct Completion {
    timer: TimerFd,
    set: bool,
}

struct Settle {
    timer: TimerFd,
    ticks: u32,
}

impl Backend {
    pub(super) fn new(
        table: Arc<Table>,
        call: EventFd,
        mem: GuestMemoryAtomic<GuestMemoryMmap>,
        guest_cid: u64,
    ) -> io::Result<Self> {
        Ok(Self {
            guest_cid,
            queues: Mutex::new(Queues::new(table.clone(), guest_cid)),
            table,
            mem,
            rings: OnceLock::new(),
            call,
            settle: Mutex::new(Settle {
                timer: TimerFd::new()?,
                ticks: 0,
            }),
            completion: Mutex::new(Completion {
                timer: TimerFd::new()?,
                set: false,
            }),
        })
    }

    /// Registers the events that are not queues.
    pub(super) fn register(&self, events: &VringEpollHandler<Arc<Self>>) -> io::Result<()> {
        let timer = self.settle().timer.as_raw_fd();
        let completion = self.completion().timer.as_raw_fd();
        events.register_listener(completion, EventSet::IN, COMPLETION_EVENT.into())?;
        events.register_listener(self.call.as_raw_fd(), EventSet::IN, CALL_EVENT.into())?;
        events.register_listener(timer, EventSet::IN, TIMER_EVENT.into())
    }

    fn settle(&self) -> MutexGuard<'_, Settle> {
        self.settle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn completion(&self) -> MutexGuard<'_, Completion> {
        self.completion
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, vrings: &[VringMutex]) {
        let [receive, transmit, ..] = vrings else {
            return;
        };
        self.rings
            .get_or_init(|| [receive.clone(), transmit.clone()]);
        let mem = self.mem.memory();
        let mut queues = self.queues();
        let more = queues.run(&mem, receive, transmit, ROUNDS);
        self.see_to_completions(&mut queues, transmit);
        drop(queues);
        if more {
            self.call();
        }
    }

    /// Sets the timer where the guest is to be told of packets, and it is not set yet.
    fn see_to_completions(&self, queues: &mut Queues, transmit: &VringMutex) {
        if !queues.owes_completions() {
            return;
        }
        let mut completion = self.completion();
        if !completion.set {
            match completion.timer.reset(COMPLETION_DELAY, None) {
                Ok(()) => completion.set = true,
                Err(error) => {
                    warn!(%error, "could not set the vsock device's timer");
                    queues.complete(transmit);
                }
            }
        }
    }

    fn complete(&self, vrings: &[VringMutex]) {
        let mut completion = self.completion();
        // As for the other timer.
        let _ = completion.timer.wait();
        completion.set = false;
        drop(completion);
        let mut queues = self.queues();
        if let [_, transmit, ..] = vrings
            && queues.owes_completions()
        {
            queues.complete(transmit);
        }
    }

    /// Has work done that has come up: here and now, where nobody else does any, or
    /// by the device's thread. To wake that takes longer than a packet does.
    pub(super) fn attend(&self) {
        if !self.work_here() {
            self.call();
        }
    }

    fn work_here(&self) -> bool {
        let Some([receive, transmit]) = self.rings.get() else {
            return false;
        };
        let mut queues = match self.queues.try_lock() {
            Ok(queues) => queues,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        self.table.answer_call();
        let mem = self.mem.memory();
        let more = queues.run(&mem, receive, transmit, 1);
        self.see_to_completions(&mut queues, transmit);
        if more {
            self.call();
        }
        true
    }

    /// Wakes the device's thread.
    fn call(&self) {
        if let Err(error) = self.call.write(1) {
            warn!(%error, "could not call the vsock device's thread");
        }
    }

    /// Starts looking at the rings for a while.
    fn start_settling(&self) {
        let mut settle = self.settle();
        settle.ticks = SETTLE_TICKS;
        if let Err(error) = settle.timer.reset(SETTLE_INTERVAL, Some(SETTLE_INTERVAL)) {
            warn!(%error, "could not set the vsock device's timer");
        }
    }

    fn tick(&self) {
        let mut settle = self.settle();
        // Non-blocking enough: the event loop says that the timer has expired.
        let _ = settle.timer.wait();
        settle.ticks = settle.ticks.saturating_sub(1);
        if settle.ticks == 0 {
            let _ = settle.timer.clear();
        }
    }
}

impl VhostUserBackend for Backend {
    type Bitmap = ();
    type Vring = VringMutex;

    fn num_queues(&self) -> usize {
        QUEUES
    }

    fn max_queue_size(&self) -> usize {
        MAX_QUEUE_SIZE
    }

    fn features(&self) -> u64 {
        1 << VIRTIO_F_VERSION_1
            | 1 << VIRTIO_RING_F_INDIRECT_DESC
            | 1 << VIRTIO_RING_F_EVENT_IDX
            | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn acked_features(&self, _features: u64) {
        self.start_settling();
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::CONFIG | VhostUserProtocolFeatures::REPLY_ACK
    }

    fn reset_device(&self) {
        self.queues().lose_transport();
    }

    fn set_event_idx(&self, _enabled: bool) {}

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        // struct virtio_vsock_config: the guest's identifier and nothing else.
        let config = self.guest_cid.to_le_bytes();
        (offset..offset.saturating_add(size.min(256)))
            .map(|index| config.get(index as usize).copied().unwrap_or(0))
            .collect()
    }

    fn update_memory(&self, _mem: GuestMemoryAtomic<GuestMemoryMmap>) -> io::Result<()> {
        // It is the one given to `new`, changed in place.
        Ok(())
    }

    fn exit_event(&self, _thread_index: usize) -> Option<(EventConsumer, EventNotifier)> {
        new_event_consumer_and_notifier(EventFlag::NONBLOCK).ok()
    }

    /// Never fails: an error would end the thread and strand every stream.
    fn handle_event(
        &self,
        event: u16,
        _set: EventSet,
        vrings: &[VringMutex],
        _thread: usize,
    ) -> io::Result<()> {
        match event {
            CALL_EVENT => {
                let _ = self.call.read();
                self.table.answer_call();
            }
            TIMER_EVENT => self.tick(),
            COMPLETION_EVENT => {
                self.complete(vrings);
                return Ok(());
            }
            _ => {}
        }
        self.work(vrings);
        Ok(())
    }
}

//! The end of the machine.

use std::time::Duration;

use tokio::sync::watch;

use super::guest::Guest;
use crate::vm::{End, Vm, VmState};

/// What the containers get where nobody says.
pub(super) const CONTAINERS: Duration = Duration::from_secs(10);

/// What the guest gets beyond its containers' time, to unmount and power off.
const GUEST: Duration = Duration::from_secs(15);

/// What a guest that refuses to power off gets, in case it does so anyway.
const REFUSED: Duration = Duration::from_secs(2);

/// How the machine is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopOrder {
    /// Containers stop within the time, then the guest powers off.
    Graceful(Duration),
    /// The power is cut.
    Force,
}

/// The order to end, which can only grow sterner.
pub(super) struct Stopping(watch::Sender<Option<StopOrder>>);

impl Stopping {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Orders the end. A later order counts if it is sterner.
    pub(super) fn order(&self, order: StopOrder) {
        self.0.send_if_modified(|present| {
            let sterner = present.is_none() || order == StopOrder::Force;
            if sterner {
                *present = Some(order);
            }
            sterner
        });
    }

    /// Waits for any order.
    pub(super) async fn ordered(&self) -> StopOrder {
        let mut orders = self.0.subscribe();
        // The sender is `self`, so it is there for as long as this waits.
        match orders.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(order)) => *order,
            _ => std::future::pending().await,
        }
    }

    async fn forced(&self) {
        let mut orders = self.0.subscribe();
        let forced = |order: &Option<StopOrder>| *order == Some(StopOrder::Force);
        if orders.wait_for(forced).await.is_err() {
            std::future::pending().await
        }
    }
}

/// Ends a VM as ordered; the power is cut where the guest does not go by itself.
pub(super) async fn stop(vm: &dyn Vm, guest: &mut Guest, stopping: &Stopping) {
    if let StopOrder::Graceful(containers) = stopping.ordered().await {
        tokio::select! {
            () = power_off(vm, guest, containers) => {}
            () = stopping.forced() => {}
        }
    }
    if !matches!(*vm.state().borrow(), VmState::Ended(_)) {
        vm.cut_power().await;
    }
}

async fn power_off(vm: &dyn Vm, guest: &mut Guest, containers: Duration) {
    // One that stands still cannot stop its containers.
    if *vm.state().borrow() == VmState::Paused {
        let _ = vm.resume().await;
    }
    let deadline = tokio::time::Instant::now() + containers + GUEST;
    let asked = tokio::time::timeout_at(deadline, guest.power_off(containers)).await;
    let patience = match asked {
        Ok(Ok(())) => deadline,
        // The guest may have gone before it answered.
        Ok(Err(status)) => {
            tracing::debug!(%status, "the guest does not power off");
            let _ = vm.press_power_button().await;
            tokio::time::Instant::now() + REFUSED
        }
        Err(_) => deadline,
    };
    if tokio::time::timeout_at(patience, ended(vm)).await.is_err() {
        tracing::warn!("the guest did not power off in time: its power is cut");
    }
}

/// Waits until the VM is gone.
pub(super) async fn ended(vm: &dyn Vm) -> End {
    let mut state = vm.state();
    let ended = state
        .wait_for(|state| matches!(state, VmState::Ended(_)))
        .await;
    match ended.as_deref() {
        Ok(VmState::Ended(end)) => end.clone(),
        _ => End::Failed("the VM is gone".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_order_only_grows_sterner() {
        let stopping = Stopping::new();
        let graceful = StopOrder::Graceful(CONTAINERS);
        stopping.order(graceful);
        assert_eq!(stopping.ordered().await, graceful);
        stopping.order(StopOrder::Force);
        stopping.forced().await;
        stopping.order(graceful);
        assert_eq!(stopping.ordered().await, StopOrder::Force);
    }
}

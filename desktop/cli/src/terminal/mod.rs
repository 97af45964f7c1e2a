//! Sitting at a container's or an exec's standard input and output.
//!
//! [`attach`] pumps one bulk stream until the process ends, the user detaches
//! or the output is closed; [`RawMode`] hands the terminal over meanwhile.

mod detach;
mod follow;
mod pump;
mod raw;

pub(crate) use detach::DetachKeys;
pub(crate) use follow::{Target, Watch, ended_by_signal};
pub(crate) use pump::{Ending, Input, attach};
pub(crate) use raw::{RawMode, input_is_terminal, output_is_terminal, size};

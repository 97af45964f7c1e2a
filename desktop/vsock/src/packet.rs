//! The header that begins every packet (virtio 1.2, section 5.10.6).

/// Bytes of a header on the wire.
pub const HEADER_LEN: usize = 44;

/// The context identifier of the host (virtio 1.2, section 5.10.4).
pub const HOST_CID: u64 = 2;

/// The most payload that either side puts into one packet, in bytes: what Linux
/// calls `VIRTIO_VSOCK_MAX_PKT_BUF_SIZE`.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// `VIRTIO_VSOCK_TYPE_STREAM`, the only socket type offered here.
pub const TYPE_STREAM: u16 = 1;

/// `VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE`: the sender receives nothing more.
pub const SHUTDOWN_RECEIVE: u32 = 1;

/// `VIRTIO_VSOCK_SHUTDOWN_F_SEND`: the sender sends nothing more.
pub const SHUTDOWN_SEND: u32 = 2;

/// Both directions: the sender is finished with the connection.
pub const SHUTDOWN_BOTH: u32 = SHUTDOWN_RECEIVE | SHUTDOWN_SEND;

/// What a packet does (`enum virtio_vsock_op`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Asks for a connection.
    Request,
    /// Grants one.
    Response,
    /// Ends a connection at once, or refuses it.
    Reset,
    /// Ends one direction or both, see the flags.
    Shutdown,
    /// Carries payload.
    ReadWrite,
    /// Tells the sender's credit.
    CreditUpdate,
    /// Asks for a [`Operation::CreditUpdate`].
    CreditRequest,
}

impl Operation {
    /// Returns the operation with this number, if there is one.
    pub fn from_wire(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::Request,
            2 => Self::Response,
            3 => Self::Reset,
            4 => Self::Shutdown,
            5 => Self::ReadWrite,
            6 => Self::CreditUpdate,
            7 => Self::CreditRequest,
            _ => return None,
        })
    }

    /// Returns the operation's number on the wire.
    pub fn to_wire(self) -> u16 {
        match self {
            Self::Request => 1,
            Self::Response => 2,
            Self::Reset => 3,
            Self::Shutdown => 4,
            Self::ReadWrite => 5,
            Self::CreditUpdate => 6,
            Self::CreditRequest => 7,
        }
    }
}

/// One header, as it stands on the wire: nothing in it is checked yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Context identifier of the sender.
    pub source_cid: u64,
    /// Context identifier of the receiver.
    pub destination_cid: u64,
    /// Port of the sender.
    pub source_port: u32,
    /// Port of the receiver.
    pub destination_port: u32,
    /// Bytes of payload after the header.
    pub len: u32,
    /// Type of socket, [`TYPE_STREAM`].
    pub socket_type: u16,
    /// Number of the [`Operation`].
    pub operation: u16,
    /// Flags of the operation.
    pub flags: u32,
    /// Size of the sender's receive buffer for this connection, in bytes.
    pub buf_alloc: u32,
    /// Bytes that have left that buffer so far, modulo 2^32.
    pub fwd_cnt: u32,
}

impl Header {
    /// Reads a header.
    pub fn from_bytes(bytes: &[u8; HEADER_LEN]) -> Self {
        let mut fields = Fields(bytes);
        Self {
            source_cid: u64::from_le_bytes(fields.take()),
            destination_cid: u64::from_le_bytes(fields.take()),
            source_port: u32::from_le_bytes(fields.take()),
            destination_port: u32::from_le_bytes(fields.take()),
            len: u32::from_le_bytes(fields.take()),
            socket_type: u16::from_le_bytes(fields.take()),
            operation: u16::from_le_bytes(fields.take()),
            flags: u32::from_le_bytes(fields.take()),
            buf_alloc: u32::from_le_bytes(fields.take()),
            fwd_cnt: u32::from_le_bytes(fields.take()),
        }
    }

    /// Writes a header.
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0..8].copy_from_slice(&self.source_cid.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.destination_cid.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.source_port.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.destination_port.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.len.to_le_bytes());
        bytes[28..30].copy_from_slice(&self.socket_type.to_le_bytes());
        bytes[30..32].copy_from_slice(&self.operation.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.flags.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.buf_alloc.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.fwd_cnt.to_le_bytes());
        bytes
    }
}

/// Takes fixed-size fields from the front of a header; past its end, zeros.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((field, rest)) => {
                self.0 = rest;
                *field
            }
            None => [0; N],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn header_survives_the_wire(bytes in proptest::array::uniform32(any::<u8>()), tail in proptest::array::uniform12(any::<u8>())) {
            let mut wire = [0; HEADER_LEN];
            wire[..32].copy_from_slice(&bytes);
            wire[32..].copy_from_slice(&tail);
            prop_assert_eq!(Header::from_bytes(&wire).to_bytes(), wire);
        }

        #[test]
        fn operation_numbers_are_their_own_inverse(number in any::<u16>()) {
            if let Some(operation) = Operation::from_wire(number) {
                prop_assert_eq!(operation.to_wire(), number);
            }
        }
    }
}

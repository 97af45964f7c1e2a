//! The processor a guest is built for, under the names its tools have for it.

/// The processor a guest is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// 64-bit Intel and AMD.
    X86_64,
    /// 64-bit Arm.
    Aarch64,
}

impl Architecture {
    /// Returns the architecture of this machine, where it is supported.
    pub fn host() -> Option<Self> {
        [Self::X86_64, Self::Aarch64]
            .into_iter()
            .find(|architecture| architecture.name() == std::env::consts::ARCH)
    }

    /// Returns the name in Rust's targets and in `guest-<name>.config`.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// Returns the name in OCI images (Go's `GOARCH`).
    pub(crate) fn oci_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// Returns the kernel's `ARCH`.
    pub(crate) fn kernel_name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "arm64",
        }
    }

    /// Returns the kernel's `make` target.
    pub(crate) fn kernel_target(self) -> &'static str {
        match self {
            Self::X86_64 => "bzImage",
            Self::Aarch64 => "Image",
        }
    }

    /// Returns where that target lies in the build's folder.
    pub(crate) fn kernel_image(self) -> &'static str {
        match self {
            Self::X86_64 => "arch/x86/boot/bzImage",
            Self::Aarch64 => "arch/arm64/boot/Image",
        }
    }
}

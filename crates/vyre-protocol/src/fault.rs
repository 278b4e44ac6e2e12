//! Why a slot did not run, as the completion says it.

/// Defines an enum of wire codes once: the Rust type, its strict decoding, and the list that the shader's constants come from.
macro_rules! wire_codes {
    ($(#[$meta:meta])* $name:ident: $repr:ty { $($(#[doc = $doc:literal])* $variant:ident = $code:literal => $glsl:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr($repr)]
        pub enum $name { $($(#[doc = $doc])* $variant = $code,)+ }

        impl $name {
            /// Every value with its name in the shader, in the order of the codes.
            pub const ALL: &'static [($name, &'static str)] = &[$(($name::$variant, $glsl)),+];

            /// What the value means, as its documentation says it.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $($name::$variant => concat!($($doc, "\n"),*),)+ }
            }

            /// The number on the wire.
            #[must_use]
            pub const fn code(self) -> u32 { self as u32 }

            /// The value behind a number on the wire, or `None` where no value has it.
            #[must_use]
            pub const fn from_code(code: u32) -> Option<Self> {
                match code { $($code => Some($name::$variant),)+ _ => None }
            }
        }
    };
}
pub(crate) use wire_codes;

wire_codes! {
    /// Reason of a faulted slot. The completion's *fault word* holds the value named here as offending.
    Fault: u8 {
        /// No fault; the fault word is 0.
        None = 0 => "FAULT_NONE",
        /// No such operation in this kernel. Offending: the operation code.
        UnknownOperation = 1 => "FAULT_UNKNOWN_OPERATION",
        /// The handle's index is beyond the table, or its generation is not the resource's. Offending: the handle.
        BadHandle = 2 => "FAULT_BAD_HANDLE",
        /// The range does not lie inside the resource. Offending: the byte offset of the range.
        OutOfRange = 3 => "FAULT_OUT_OF_RANGE",
        /// An offset or length is not a multiple of four. Offending: that value.
        Misaligned = 4 => "FAULT_MISALIGNED",
        /// An argument is outside what the operation allows. Offending: that argument.
        BadArgument = 5 => "FAULT_BAD_ARGUMENT",
        /// The resource does not allow this access, or belongs to another tenant. Offending: the handle.
        AccessDenied = 6 => "FAULT_ACCESS_DENIED",
        /// The slot's tenant is not registered or was revoked. Offending: the tenant.
        UnknownTenant = 7 => "FAULT_UNKNOWN_TENANT",
        /// The tenant may not use this operation. Offending: the operation code.
        OperationDenied = 8 => "FAULT_OPERATION_DENIED",
        /// A program has used up its fuel; let it do less in a tile. Offending: the number of the instruction that it had none for.
        OutOfFuel = 9 => "FAULT_OUT_OF_FUEL",
        /// A program gave up by itself. Offending: the code that it gave.
        Trap = 10 => "FAULT_TRAP",
    }
}

wire_codes! {
    /// Why a whole launch was refused by the kernel: what it found when it checked the regions.
    LaunchFault: u8 {
        /// The launch was accepted.
        None = 0 => "LAUNCH_FAULT_NONE",
        /// A region does not start with the magic number. Offending: the region's number.
        Magic = 1 => "LAUNCH_FAULT_MAGIC",
        /// A region was written for another version of the ABI. Offending: the region's number.
        Version = 2 => "LAUNCH_FAULT_VERSION",
        /// A region's header names another region. Offending: the region's number.
        Kind = 3 => "LAUNCH_FAULT_KIND",
        /// A region's geometry differs from the control region's. Offending: the region's number.
        Geometry = 4 => "LAUNCH_FAULT_GEOMETRY",
        /// A region's size differs from what its geometry needs. Offending: the region's number.
        Size = 5 => "LAUNCH_FAULT_SIZE",
    }
}

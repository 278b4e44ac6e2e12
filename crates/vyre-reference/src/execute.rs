//! From a claimed tile to its work: the same checks, in the same order, as `execute.glsl`.

use vyre_protocol::control::{TENANT_WORDS, TENANTS, TenantState, operation_bit};
use vyre_protocol::fault::Fault;
use vyre_protocol::header::{HEADER_WORDS, RegionKind};
use vyre_protocol::local::{STATE_FAULT, STATE_FAULT_WORD};
use vyre_protocol::operation::{MAX_TILE_BYTES, Operation};
use vyre_protocol::resource::{ATOMIC, ENTRY_WORDS, Handle, INDEX_BITS, OBSERVABLES, READ, SHARED, WRITE};
use vyre_protocol::slot::{Operand, Slot};
use vyre_protocol::stamped::RECORD_BYTES;
use vyre_protocol::status;
use vyre_protocol::words::SharedWords;

use crate::claim::{Claim, slot_word, state_word};
use crate::ops::{self, Backing, Results};
use crate::worker::Worker;

/// Why a slot does not run, and the offending word.
pub type Refusal = (Fault, u32);

/// A resource and where in it the operand lies.
pub(crate) struct Resolved {
    pub(crate) backing: Backing,
    pub(crate) offset: usize,
    /// Bytes from there to the resource's end.
    pub(crate) size: u32,
}

impl Worker<'_> {
    /// Reads the slot of a claim and runs the tile. Returns the slot, and the tile's result word or why it did not run.
    pub(crate) fn execute(&mut self, claim: Claim) -> (Slot, Result<Results, Refusal>) {
        let word = |i: u32| self.region(RegionKind::Ring).load(slot_word(claim.index, i));
        let slot = Slot {
            sequence: word(0),
            operation: word(1),
            tiles: word(2),
            tenant: word(3),
            input: Operand { handle: word(4), offset: word(5) },
            output: Operand { handle: word(6), offset: word(7) },
            length: word(8),
            tile_span: word(9),
            args: std::array::from_fn(|i| word(10 + i as u32)),
        };
        // The slot's other tiles are spared once one has faulted.
        let state = |word| state_word(claim.index, word);
        if claim.tiles > 1 && self.local.load(state(STATE_FAULT) as usize) != Fault::None.code() {
            return (slot, Ok([0; 2]));
        }
        let result = self.run(&slot, claim);
        if let Err((fault, word)) = result
            && claim.tiles > 1
            && self.local.swap(state(STATE_FAULT), Fault::None.code(), fault.code())
        {
            self.local.store(state(STATE_FAULT_WORD) as usize, word);
        }
        (slot, result)
    }

    /// Runs a tile and gives the completion's result word.
    fn run(&mut self, slot: &Slot, claim: Claim) -> Result<Results, Refusal> {
        let tile = claim.tile;
        self.check_tenant(slot)?;
        let Some(operation) = Operation::from_code(slot.operation) else {
            return self.run_custom(slot, tile).map(|()| [0; 2]);
        };
        self.check_allowed(slot, slot.operation)?;
        match operation {
            Operation::Nop => {}
            Operation::Fence if slot.tiles != 1 => return Err((Fault::BadArgument, slot.tiles)),
            Operation::Fence => {}
            Operation::Printf => {
                ops::check_printf(slot)?;
                let [format, count, ref args @ ..] = slot.args;
                self.print(claim, slot.tenant, format, &args[..count as usize]);
            }
            Operation::Fill => {
                check_bytes(slot)?;
                let output = self.resolve(slot, slot.output, slot.length, WRITE)?;
                ops::fill(slot, tile, &output);
            }
            Operation::Copy => {
                check_bytes(slot)?;
                let input = self.resolve(slot, slot.input, slot.length, READ)?;
                let output = self.resolve(slot, slot.output, slot.length, WRITE)?;
                ops::copy(slot, tile, &input, &output);
            }
            Operation::Blake3 => {
                ops::check_blake3(slot)?;
                // A length beyond the last multiple of four fits in no resource.
                let rounded = slot.length.checked_next_multiple_of(4).unwrap_or(u32::MAX);
                let input = self.resolve(slot, slot.input, rounded, READ)?;
                let output = self.resolve(slot, slot.output, slot.tiles * RECORD_BYTES, WRITE)?;
                ops::blake3(slot, tile, &input, &output, &mut self.scratch);
            }
            Operation::StoreU32 | Operation::LoadU32 | Operation::AtomicAdd | Operation::CompareSwap => {
                return self.run_word(slot, operation);
            }
            Operation::Reduce => {
                check_bytes(slot)?;
                let reduction = ops::check_reduce(slot)?;
                let input = self.resolve(slot, slot.input, slot.length, READ)?;
                let output = self.resolve(slot, slot.output, slot.tiles * 8, WRITE)?;
                ops::reduce(slot, reduction, tile, &input, &output);
            }
            Operation::Histogram => {
                check_bytes(slot)?;
                let bins = ops::check_histogram(slot)?;
                let input = self.resolve(slot, slot.input, slot.length, READ)?;
                let output = self.resolve(slot, slot.output, bins * 4, WRITE | ATOMIC)?;
                ops::histogram(slot, bins, tile, &input, &output);
            }
            Operation::Packed => return self.run_packed(slot),
            Operation::Exec => self.run_exec(claim, slot)?,
        }
        Ok([0; 2])
    }

    /// Writes a line of at most four words to the debug log.
    pub(crate) fn print(&self, claim: Claim, tenant: u32, format: u32, args: &[u32]) {
        let shape = claim.priority | (args.len() as u32) << 8;
        let mut record = [format, (self.id & 0xffff) | tenant << 16, claim.ticket, shape, 0, 0, 0, 0];
        record[4..4 + args.len()].copy_from_slice(args);
        self.write_log(&record);
    }

    fn run_word(&self, slot: &Slot, operation: Operation) -> Result<Results, Refusal> {
        ops::check_word(slot)?;
        let place = match operation {
            Operation::LoadU32 => self.resolve(slot, slot.input, 4, READ)?,
            _ => self.resolve(slot, slot.output, 4, ops::word_access(operation))?,
        };
        Ok([ops::run_word(operation, &place, [slot.args[0], slot.args[1]]), 0])
    }

    fn check_tenant(&self, slot: &Slot) -> Result<(), Refusal> {
        let control = self.region(RegionKind::Control);
        let tenant = |word: u32| (TENANTS + slot.tenant * TENANT_WORDS + word) as usize;
        if slot.tenant >= self.tenants || control.load_acquire(tenant(0)) != TenantState::Active.code() {
            return Err((Fault::UnknownTenant, slot.tenant));
        }
        Ok(())
    }

    pub(crate) fn check_allowed(&self, slot: &Slot, code: u32) -> Result<(), Refusal> {
        let mask = self.region(RegionKind::Control).load((TENANTS + slot.tenant * TENANT_WORDS + 1) as usize);
        let allowed = mask & operation_bit(code) != 0;
        if allowed { Ok(()) } else { Err((Fault::OperationDenied, code)) }
    }

    /// The resource behind an operand, of which `bytes` bytes are to be accessed.
    pub(crate) fn resolve(&self, slot: &Slot, operand: Operand, bytes: u32, access: u32) -> Result<Resolved, Refusal> {
        let Operand { handle, offset } = operand;
        let (owner, allowed, length, backing) = self.entry(handle).ok_or((Fault::BadHandle, handle))?;
        if (owner != SHARED && owner != slot.tenant) || allowed & access != access {
            return Err((Fault::AccessDenied, handle));
        }
        if !offset.is_multiple_of(4) {
            return Err((Fault::Misaligned, offset));
        }
        if offset > length || bytes > length - offset {
            return Err((Fault::OutOfRange, offset));
        }
        Ok(Resolved { backing, offset: offset as usize, size: length - offset })
    }

    /// Owner, access, length and memory behind a handle.
    fn entry(&self, handle: u32) -> Option<(u32, u32, u32, Backing)> {
        if handle == OBSERVABLES.word() {
            let length = self.observables * 4;
            let words = self.region(RegionKind::Status).part(status::OBSERVABLES as usize, self.observables as usize);
            // The host looks at them, so nothing may change one in one step.
            return Some((SHARED, READ | WRITE, length, Backing::Words(words)));
        }
        let (index, generation) = (handle & ((1 << INDEX_BITS) - 1), handle >> INDEX_BITS);
        let table = self.region(RegionKind::Resources);
        let entry = |word: u32| (HEADER_WORDS + index * ENTRY_WORDS + word) as usize;
        if index >= self.resource_count || generation == 0 || table.load_acquire(entry(3)) != generation {
            return None;
        }
        let backing = self.resources.get(Handle::new(index, generation))?;
        Some((table.load(entry(4)), table.load(entry(5)), table.load(entry(2)), backing))
    }
}

/// Whether `tiles` tiles of `span` bytes cover `length` bytes.
pub(crate) fn covers(tiles: u32, span: u32, length: u32) -> bool {
    u64::from(tiles) * u64::from(span) >= u64::from(length)
}

/// The bytes of a tile within the slot's length.
pub(crate) fn tile_range(slot: &Slot, tile: u32, span: u32) -> std::ops::Range<usize> {
    let start = (u64::from(tile) * u64::from(span)).min(u64::from(slot.length)) as usize;
    start..(start + span as usize).min(slot.length as usize)
}

/// What FILL and COPY have in common.
pub(crate) fn check_bytes(slot: &Slot) -> Result<(), Refusal> {
    if let Some(odd) = [slot.length, slot.tile_span].into_iter().find(|value| !value.is_multiple_of(4)) {
        return Err((Fault::Misaligned, odd));
    }
    if slot.tile_span == 0 || slot.tile_span > MAX_TILE_BYTES {
        return Err((Fault::BadArgument, slot.tile_span));
    }
    if !covers(slot.tiles, slot.tile_span, slot.length) {
        return Err((Fault::BadArgument, slot.tiles));
    }
    Ok(())
}

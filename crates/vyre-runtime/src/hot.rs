//! Hot programs: which are to be translated, and how far that is.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vyre_protocol::operation::Operation;
use vyre_protocol::resource::Handle;
use vyre_protocol::slot::Slot;
use vyre_protocol::vir0::Program;
use vyre_vk::{HotBuild, HotError, HotProgram, MAX_HOT_PROGRAMS, Untranslatable};

use crate::engine::Engine;
use crate::options::HotPolicy;
use crate::program::LoadedProgram;
use crate::runtime::Runtime;

/// How a loaded program is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramState {
    /// It is interpreted, by [`HotPolicy`](crate::HotPolicy), on the reference engine, or since the kernel holds as many as it can.
    Interpreted,
    /// It is interpreted while a kernel is built that holds it.
    Building,
    /// The quanta that are launched from now on have it as code of their own.
    Hot,
    /// It is interpreted, since it cannot be translated.
    Untranslatable(Untranslatable),
    /// It is interpreted, since the kernel that would hold it could not be built.
    NotBuilt(String),
}

/// A program under its tag, however often it is loaded.
struct Known {
    program: Arc<Program>,
    /// Handles that it is loaded under.
    loaded: u32,
    /// Tiles that were published.
    tiles: u64,
    state: ProgramState,
}

/// The programs of a runtime that may become hot.
#[derive(Default)]
pub(crate) struct HotPrograms {
    /// By tag; tags are not used again.
    known: BTreeMap<u32, Known>,
    handles: HashMap<u32, u32>,
    last_tag: u32,
    /// The tags that the kernel under way will hold.
    building: Option<Vec<u32>>,
    /// A program has the tiles that it needs and is not in a kernel.
    wanted: bool,
}

impl HotPrograms {
    /// The programs were unloaded all together.
    pub(crate) fn forget_handles(&mut self) {
        self.handles.clear();
        self.known.values_mut().for_each(|known| known.loaded = 0);
    }

    /// What the next kernel holds, if that is more than the newest one does: programs of that as long as they are loaded, then those that
    /// wait.
    fn next(&self, tiles: u64) -> Option<Vec<u32>> {
        let loaded = self.known.iter().filter(|(_, known)| known.loaded > 0);
        let waits = |known: &Known| known.state == ProgramState::Interpreted && known.tiles >= tiles;
        let hot = loaded.clone().filter(|(_, known)| known.state == ProgramState::Hot);
        let waiting = loaded.filter(|(_, known)| waits(known)).map(|(tag, _)| *tag);
        let mut next: Vec<u32> = hot.map(|(tag, _)| *tag).collect();
        let held = next.len();
        next.extend(waiting);
        next.truncate(MAX_HOT_PROGRAMS);
        (next.len() > held).then_some(next)
    }

    fn begin(&mut self, tags: Vec<u32>) {
        for tag in &tags {
            if let Some(known) = self.known.get_mut(tag).filter(|known| known.state != ProgramState::Hot) {
                known.state = ProgramState::Building;
            }
        }
        self.building = Some(tags);
    }

    /// A kernel holds what became hot, and no others any more.
    fn end(&mut self, built: Result<HotBuild, HotError>) {
        let tags = self.building.take().unwrap_or_default();
        match built {
            Ok(HotBuild { programs, took }) => {
                let switched = programs.iter().any(|(_, outcome)| outcome.is_ok());
                tracing::info!(target: "vyre::hot", ?tags, switched, "a kernel with hot programs was built in {took:.1?}");
                if switched {
                    let hot = self.known.values_mut().filter(|known| known.state == ProgramState::Hot);
                    hot.for_each(|known| known.state = ProgramState::Interpreted);
                }
                for (tag, outcome) in programs {
                    if let Some(known) = self.known.get_mut(&tag) {
                        known.state = outcome.map_or_else(ProgramState::Untranslatable, |()| ProgramState::Hot);
                    }
                }
            }
            Err(error) => {
                tracing::warn!(target: "vyre::hot", ?tags, "a kernel with hot programs was not built: {error}");
                let building = self.known.values_mut().filter(|known| known.state == ProgramState::Building);
                building.for_each(|known| known.state = ProgramState::NotBuilt(error.to_string()));
            }
        }
        self.sweep();
    }

    /// Forgets what is not loaded and in no kernel.
    fn sweep(&mut self) {
        let kept =
            |known: &Known| known.loaded > 0 || matches!(known.state, ProgramState::Hot | ProgramState::Building);
        self.known.retain(|_, known| kept(known));
    }
}

impl Runtime {
    /// How a program is run.
    pub fn program_state(&mut self, program: &LoadedProgram) -> ProgramState {
        self.follow_builds();
        let tag = self.hot.handles.get(&program.handle().word());
        let known = tag.and_then(|tag| self.hot.known.get(tag));
        known.map_or(ProgramState::Interpreted, |known| known.state.clone())
    }

    /// Waits as long as a kernel is built for a program, and gives how it is run from now on: slots that are published afterwards find the
    /// new kernel. [`ProgramState::Building`] if that takes longer than `timeout`.
    pub fn await_program(&mut self, program: &LoadedProgram, timeout: Duration) -> ProgramState {
        let start = Instant::now();
        while self.program_state(program) == ProgramState::Building && start.elapsed() < timeout {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.settled_at = self.engine.quanta().launched;
        self.program_state(program)
    }

    /// The tag under which kernels know a program; 0 where none is to be translated.
    pub(crate) fn tag_program(&mut self, program: &Program) -> u32 {
        if self.options.hot == HotPolicy::Never || matches!(self.engine, Engine::Reference(_)) {
            return 0;
        }
        if let Some((tag, _)) = self.hot.known.iter().find(|(_, known)| *known.program == *program) {
            return *tag;
        }
        // With all tags used up, programs are interpreted.
        let Some(tag) = self.hot.last_tag.checked_add(1) else { return 0 };
        self.hot.last_tag = tag;
        let (program, state) = (Arc::new(program.clone()), ProgramState::Interpreted);
        self.hot.known.insert(tag, Known { program, loaded: 0, tiles: 0, state });
        tag
    }

    pub(crate) fn note_loaded(&mut self, tag: u32, handle: Handle) {
        if let Some(known) = self.hot.known.get_mut(&tag) {
            known.loaded += 1;
            self.hot.handles.insert(handle.word(), tag);
            self.hot.wanted = true;
            self.follow_builds();
        }
    }

    pub(crate) fn note_unloaded(&mut self, handle: Handle) {
        let tag = self.hot.handles.remove(&handle.word());
        if let Some(known) = tag.and_then(|tag| self.hot.known.get_mut(&tag)) {
            known.loaded -= 1;
            self.hot.wanted = true;
            self.hot.sweep();
        }
    }

    /// Counts the tiles of slots that were published.
    pub(crate) fn note_programs(&mut self, slots: &[Slot]) {
        if self.hot.handles.is_empty() {
            return;
        }
        for slot in slots.iter().filter(|slot| slot.operation == Operation::Exec.code()) {
            let tag = self.hot.handles.get(&slot.args[0]);
            if let Some(known) = tag.and_then(|tag| self.hot.known.get_mut(tag)) {
                known.tiles += u64::from(slot.tiles);
                self.hot.wanted |= known.state == ProgramState::Interpreted;
            }
        }
        self.follow_builds();
    }

    /// Takes what a build has come to, and starts another if a program waits for one.
    fn follow_builds(&mut self) {
        let Engine::Vulkan { resident, .. } = &mut self.engine else { return };
        if self.hot.building.is_some()
            && let Some(built) = resident.take_hot()
        {
            self.hot.end(built);
            self.hot.wanted = true;
        }
        if self.hot.building.is_some() || !std::mem::take(&mut self.hot.wanted) {
            return;
        }
        let Some(next) = self.options.hot.tiles().and_then(|tiles| self.hot.next(tiles)) else { return };
        let program =
            |tag: &u32| Some(HotProgram { tag: *tag, program: Arc::clone(&self.hot.known.get(tag)?.program) });
        let programs = next.iter().filter_map(program).collect();
        match resident.build_hot(programs) {
            Ok(true) => self.hot.begin(next),
            Ok(false) => self.hot.wanted = true,
            Err(error) => {
                self.hot.begin(next);
                self.hot.end(Err(error));
            }
        }
    }
}

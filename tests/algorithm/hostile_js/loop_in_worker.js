onmessage = () => {
  const url = URL.createObjectURL(new Blob(["for (;;);"], { type: "text/javascript" }));
  let started = null;
  try { started = new Worker(url, { type: "module" }); } catch (error) { console.error(String(error)); }
  for (;;);
};

onmessage = async () => {
  for (const ask of [() => prompt("?"), () => confirm("?"), () => alert("?"), () => Deno.readSync(0)]) {
    try { ask(); } catch (error) { console.error(error.name); }
  }
  const request = new XMLHttpRequest();
  request.open("GET", "http://localhost:1/", false);
  try { request.send(); } catch (error) { console.error(error.name); }
  await new Promise((resolve) => setTimeout(resolve, 3600000));
};

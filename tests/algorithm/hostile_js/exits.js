onmessage = () => {
  const tried = [];
  for (const way of ["Deno.exit(0)", "process.exit(0)", "quit()", "Deno.kill(1, 'SIGKILL')", "process.kill(1, 9)", "process.abort()"]) {
    try { (0, eval)(way); tried.push(`${way} worked`); } catch (error) { tried.push(error.name); }
  }
  postMessage({ body: tried });
};

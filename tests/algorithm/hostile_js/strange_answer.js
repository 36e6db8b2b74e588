onmessage = () => postMessage({ body: 1, stdout: { a: 1 }, stderr: 7, exitCode: "none" });

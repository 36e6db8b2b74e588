onmessage = () => { for (;;) postMessage({ hello: 1 }); };

"""Dragging an image: in viser's page the left button turns the camera, and the right one moves it."""

PAN_WITH_ANY_BUTTON = """
<script>
  // An image is seen from the front: every drag over it becomes one with the right button, which moves the camera
  (() => {
    const taken = new Set();
    const pass = (event) => {
      if (!event.isTrusted || event.pointerType !== "mouse") return;
      if (event.type === "pointerdown") {
        if (event.button !== 0 || !(event.target instanceof HTMLCanvasElement)) return;
        taken.add(event.pointerId);
      } else if (!taken.has(event.pointerId)) return;
      event.stopImmediatePropagation();
      const names = ["pointerId", "pointerType", "isPrimary", "clientX", "clientY", "screenX", "screenY", "ctrlKey", "altKey"];
      const values = { bubbles: true, cancelable: true, composed: true, view: window };
      for (const name of names) values[name] = event[name];
      values.button = event.type === "pointermove" ? -1 : 2;
      values.buttons = event.type === "pointerup" ? 0 : 2;
      values.movementX = event.movementX;
      values.movementY = event.movementY;
      event.target.dispatchEvent(new PointerEvent(event.type, values));
      if (event.type === "pointerup" || event.type === "pointercancel") taken.delete(event.pointerId);
    };
    for (const type of ["pointerdown", "pointermove", "pointerup", "pointercancel"]) window.addEventListener(type, pass, true);
    // The arrow keys turn the camera
    window.addEventListener("keydown", (event) => {
      const isTyping = event.target instanceof HTMLInputElement || event.target instanceof HTMLTextAreaElement;
      if (event.key.startsWith("Arrow") && !isTyping) event.stopImmediatePropagation();
    }, true);
  })();
</script>
"""
"""HTML for the head of the page of an image."""

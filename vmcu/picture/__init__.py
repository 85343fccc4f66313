"""Pictures of a plan: pure functions from a plan (and its report) to SVG and HTML text.

    plan -> Scene -> Chart -> text
        read     draw    print

A scene has bytes and tasks, a chart has coordinates, and templates only type the chart out. Text from a
model reaches the output only through `render.clean` and the escaping of the template environment.
"""

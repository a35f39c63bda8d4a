// Swagger UI over this server's own description.

window.ui = window.SwaggerUIBundle({
    url: new URL('openapi.json', document.baseURI).href,
    dom_id: '#api',
    deepLinking: true,
    docExpansion: 'list',
    defaultModelsExpandDepth: 0,
    tryItOutEnabled: true,
    // Else it asks another host whether the description is valid.
    validatorUrl: null,
});
